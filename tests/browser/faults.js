// Faults of names and structure: a list of sentences, empty where all is well.
() => {
  const faults = [];
  const seen = (e) => e.checkVisibility({ visibilityProperty: true });
  const say = (what, e) => faults.push(`${what}: ${e.outerHTML.slice(0, 120)}`);
  const text = (ids) => ids.split(/\s+/).map((id) => document.getElementById(id)?.textContent.trim() ?? "").join(" ").trim();
  const named = (e) =>
    e.getAttribute("aria-label")?.trim() || (e.getAttribute("aria-labelledby") && text(e.getAttribute("aria-labelledby"))) ||
    [...(e.labels ?? [])].map((l) => l.textContent.trim()).join(" ") || (/^(BUTTON|A|SUMMARY)$/.test(e.tagName) && e.textContent.trim());
  if (!document.documentElement.lang) faults.push("no language");
  if (!document.title.trim()) faults.push("no title");
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
  for (const tag of ["main", "header"]) if (document.querySelectorAll(`body > ${tag}`).length !== 1) faults.push(`not one ${tag}`);
  for (const e of document.querySelectorAll("input, select, textarea, button, a[href], summary, [role=combobox], [role=listbox], [role=treegrid], [role=img]"))
    if (seen(e) && !named(e) && !(e.getAttribute("role") === "treegrid" && e.caption)) say("no name", e);
  for (const e of document.querySelectorAll("img")) if (!e.hasAttribute("alt")) say("no alt", e);
  let level = 0;
  for (const e of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    if (!seen(e)) continue;
    const now = Number(e.tagName[1]);
    if (now > level + 1) say(`heading jumps from ${level}`, e);
    if (!e.textContent.trim()) say("empty heading", e);
    level = now;
  }
  const ids = [...document.querySelectorAll("main [id], header [id], dialog [id]")].filter((e) => !e.closest(".chart")).map((e) => e.id);
  for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) faults.push(`id twice: ${id}`);
  for (const name of ["aria-labelledby", "aria-describedby", "aria-controls", "for"])
    for (const e of document.querySelectorAll(`[${name}]`))
      for (const id of e.getAttribute(name).split(/\s+/)) if (!document.getElementById(id)) say(`${name} leads nowhere`, e);
  for (const e of document.querySelectorAll("[tabindex]")) if (e.tabIndex > 0) say("tabindex above 0", e);
  for (const e of document.querySelectorAll("table")) if (seen(e) && !e.querySelector("th[scope]")) say("a table without headers", e);
  for (const e of document.querySelectorAll("#tree-table [role=row][aria-level]")) {
    for (const name of ["aria-level", "aria-setsize", "aria-posinset", "aria-selected"]) if (!e.hasAttribute(name)) say(`no ${name}`, e);
  }
  const tree = location.pathname.startsWith("/ui");
  if (tree && document.querySelectorAll("#tree-table tr[tabindex='0']").length !== 1) faults.push("the tree is not one tab stop");
  for (const id of tree ? ["announcer", "send-words", "audience-words"] : ["announcer"])
    if (document.getElementById(id).getAttribute("role") !== "status") faults.push(`${id} is not announced`);
  for (const e of document.querySelectorAll(".sign")) if (seen(e) && e.textContent.trim() && !/[▲▼◆]|nothing/.test(e.textContent)) say("a sign by colour alone", e);
  for (const e of document.querySelectorAll("button, summary, select, input:not([type=checkbox], [type=radio], [type=range])"))
    if (seen(e) && !e.matches(".link") && e.getBoundingClientRect().height < 24) say("smaller than 24 px", e);
  return faults;
}
