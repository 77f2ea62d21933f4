
"use strict";
(() => {
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));
  const tree = document.querySelector(".tree");

  // A picture is inside the page once; wherever it is shown again it takes the first one's content.
  for (const image of all("img[data-of]")) {
    const first = document.getElementById(image.dataset.of);
    if (first) image.src = first.src;
  }

  const large = document.getElementById("large");
  tree.addEventListener("click", (event) => {
    const image = event.target.closest("img.shot");
    if (!image) return;
    event.preventDefault();
    large.querySelector("img").src = image.src;
    large.querySelector("img").alt = image.alt;
    large.querySelector("figcaption").textContent = image.alt;
    large.showModal();
  });
  large.addEventListener("click", (event) => { if (event.target === large) large.close(); });

  // Groups are unfolded before the jobs in them: what people look for are the rows.
  const MOST = 400;
  document.getElementById("unfold").addEventListener("click", () => {
    const groups = all(".group > details:not([open])", tree);
    const folded = groups.length ? groups : all("details:not([open])", tree);
    for (const one of folded.slice(0, MOST)) one.open = true;
  });
  document.getElementById("fold").addEventListener("click", () => {
    for (const one of all("details[open]", tree)) one.open = false;
  });

  const show = (row) => {
    for (let at = row.parentElement.closest("li"); at; at = at.parentElement.closest("li")) {
      at.classList.remove("miss");
      if (at.classList.contains("group")) at.firstElementChild.open = true;
    }
  };
  const find = document.getElementById("find");
  find.addEventListener("input", () => {
    const wanted = find.value.trim().toLowerCase();
    const rows = all("li.job", tree);
    for (const item of all("li.job, li.group", tree)) item.classList.toggle("miss", wanted !== "");
    if (!wanted) return;
    for (const row of rows) {
      const said = row.querySelector(".line").textContent + " " + row.className.replace("job ", "");
      if (!said.toLowerCase().includes(wanted)) continue;
      row.classList.remove("miss");
      show(row);
    }
  });

  // A link to a job opens the folds around it.
  const follow = () => {
    const row = location.hash.startsWith("#j-") && document.getElementById(location.hash.slice(1));
    if (!row) return;
    show(row);
    row.firstElementChild.open = true;
    row.scrollIntoView({ block: "center" });
  };
  window.addEventListener("hashchange", follow);
  follow();
  document.querySelector(".tools").hidden = false;
})();
