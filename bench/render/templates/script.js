"use strict";
(() => {
  const control = document.getElementById("seed-control");
  if (control) {
    const select = document.getElementById("seed");
    const show = () => {
      for (const figure of document.querySelectorAll("[data-seed]")) {
        figure.hidden = select.value === "median" ? !("median" in figure.dataset) : figure.dataset.seed !== select.value;
      }
    };
    select.addEventListener("change", show);
    control.hidden = false;
    show();
  }
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const part of closed) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of closed) part.open = false;
    closed = [];
  });
  const filter = document.getElementById("run-filter");
  if (filter) {
    const rows = [...document.querySelectorAll("table.filtered tbody tr")];
    const texts = rows.map((row) =>
      [row, ...row.querySelectorAll("[title]")].map((part) => part.title || part.textContent).join(" ").toLowerCase());
    const count = document.getElementById("run-count");
    const show = () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      rows.forEach((row, place) => { row.hidden = !words.every((word) => texts[place].includes(word)); });
      count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
    };
    filter.addEventListener("input", show);
    filter.parentElement.hidden = false;
    show();
  }
  const copied = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const area = document.body.appendChild(document.createElement("textarea"));
      area.value = text;
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  };
  for (const button of document.querySelectorAll("[data-copy]")) {
    const source = document.getElementById(button.dataset.copy);
    const status = button.parentElement.querySelector("[role=status]");
    button.addEventListener("click", async () => {
      const done = await copied(source.value ?? source.textContent);
      status.textContent = done ? "Copied." : "The browser does not allow it: select the text instead.";
    });
    button.parentElement.hidden = false;
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent.trim();
        const numeric = head.classList.contains("num");
        const compare = (a, b) => {
          const [x, y] = [key(a), key(b)];
          if (x === "" || y === "") return (x === "") - (y === "");
          return (down ? -1 : 1) * (numeric ? Number(x) - Number(y) : x.localeCompare(y));
        };
        body.append(...[...body.rows].sort(compare));
      });
    });
  }
  const pictures = document.querySelectorAll(".grid img, .strips img");
  if (pictures.length) {
    const box = document.createElement("dialog");
    box.className = "lightbox";
    box.setAttribute("aria-labelledby", "enlarged");
    box.innerHTML = '<p><span id="enlarged"></span><button type="button">Close</button></p><img alt="">';
    const [words, close, large] = [box.querySelector("span"), box.querySelector("button"), box.querySelector("img")];
    document.body.append(box);
    close.addEventListener("click", () => box.close());
    box.addEventListener("click", (event) => event.target === box && box.close());
    for (const picture of pictures) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "enlarge";
      button.setAttribute("aria-label", `Enlarge: ${picture.alt}`);
      picture.replaceWith(button);
      button.append(picture);
      button.addEventListener("click", () => {
        const [width, height] = [picture.naturalWidth, picture.naturalHeight];
        const scale = Math.min((innerWidth * 0.94 - 40) / width, (innerHeight * 0.94 - 110) / height);
        large.src = picture.src;
        large.alt = words.textContent = picture.alt;
        large.width = width * (scale > 1 ? Math.floor(scale) : scale);
        large.height = height * (scale > 1 ? Math.floor(scale) : scale);
        box.showModal();
      });
    }
  }
})();
