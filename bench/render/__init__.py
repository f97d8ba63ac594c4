"""Tables + figures → one offline HTML page, LaTeX and CSV tables, PNG, SVG and PDF figures."""
