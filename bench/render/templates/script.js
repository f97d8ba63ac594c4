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
})();
