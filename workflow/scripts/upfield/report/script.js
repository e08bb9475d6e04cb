// Tables: sorting by a heading, a filter for rows, the filters of the leaderboard; files to save; printing.
const cellText = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim().replace("−", "-").replace("∞", "Infinity");

for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach(other => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const order = (a, b) => {
        const [x, y] = [cellText(a, column), cellText(b, column)];
        const blank = (isNaN(parseFloat(x)) - isNaN(parseFloat(y)));
        if (heading.classList.contains("n")) return blank || (down ? y - x || 0 : x - y || 0);
        return x.localeCompare(y, "en", {numeric: true}) * (down ? -1 : 1);
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
    });
  });
}

// Rows without the words are hidden; returns how many are left.
const filterRows = (table, words) => {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  let left = 0;
  for (const row of table.tBodies[0].rows) {
    row.hidden = !wanted.every(word => row.textContent.toLowerCase().includes(word));
    left += !row.hidden;
  }
  return left;
};

for (const table of document.querySelectorAll("table.sortable:not(.board)")) {
  const rows = table.tBodies[0].rows.length;
  if (rows < 9) continue;
  const label = document.createElement("label");
  const [field, status] = [document.createElement("input"), document.createElement("output")];
  field.type = "search";
  label.className = "find";
  label.append("Filter rows ", field, " ", status);
  field.addEventListener("input", () => { status.textContent = `${filterRows(table, field.value)} of ${rows} rows`; });
  (table.closest(".scroll") ?? table).before(label);
}

const filters = document.querySelector("form.filters");
if (filters) {
  const apply = () => {
    const {split, region, metric, words} = Object.fromEntries(new FormData(filters));
    let [tables, rows] = [0, 0];
    for (const part of document.querySelectorAll(".board-part")) {
      const own = part.querySelector("table");
      const cells = [...own.querySelectorAll("[data-metric]")];
      const known = !metric || cells.some(cell => cell.dataset.metric === metric);
      part.hidden = (split && part.dataset.split !== split) || (region && part.dataset.region !== region) || !known;
      cells.forEach(cell => { cell.hidden = metric && cell.dataset.metric !== metric; });
      const left = filterRows(own, words);
      if (part.hidden) continue;
      tables += 1;
      rows += left;
      const fold = part.querySelector("details");
      if (fold && (split || region)) fold.open = true;
    }
    const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
    filters.querySelector("output").textContent = `${plural(rows, "row")} in ${plural(tables, "table")}`;
  };
  filters.hidden = false;
  filters.addEventListener("input", apply);
  filters.addEventListener("submit", event => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(apply));
  apply();
}

const save = (blob, name) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};
for (const button of document.querySelectorAll("button[data-file]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const packed = Uint8Array.from(atob(document.getElementById(button.dataset.file).textContent.trim()), c => c.charCodeAt(0));
    const text = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    save(new Blob([await new Response(text).blob()], {type: "text/tab-separated-values"}), button.dataset.name);
  });
}
for (const button of document.querySelectorAll("button[data-copy]")) {
  const source = document.getElementById(button.dataset.copy);
  button.hidden = false;
  button.addEventListener("click", async () => {
    getSelection().selectAllChildren(source);
    // A page opened from disk may not write to the clipboard; the text is selected then, ready to be copied.
    try { await navigator.clipboard.writeText(source.textContent); } catch { document.execCommand("copy"); }
    button.nextElementSibling.textContent = "Copied.";
  });
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(part => { part.open = true; }));
