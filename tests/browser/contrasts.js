// The least contrast of text to what lies behind it, by a short name of the element, with WCAG's formula.
() => {
  const channels = (text) => {
    const found = text.match(/[\d.]+/g).map(Number);
    if (text.startsWith("color(srgb")) return [...found.slice(0, 3).map((v) => v * 255), found[3] ?? 1];
    return [...found.slice(0, 3), found[3] ?? 1];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (e) => {
    for (let at = e; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour[3] === 1) return colour;
    }
    return [255, 255, 255, 1];
  };
  const least = {};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || e.closest(".chart, .unseen, script, [disabled]") || !e.checkVisibility()) continue;
    const [one, other] = [light(channels(getComputedStyle(e).color)), light(behind(e))].sort((a, b) => b - a);
    const name = `${e.tagName.toLowerCase()}${e.id && `#${e.id}`}${[...e.classList].map((c) => `.${c}`).join("")} in ${e.closest("[id]")?.id}`;
    const ratio = Math.round(((one + 0.05) / (other + 0.05)) * 100) / 100;
    least[name] = Math.min(least[name] ?? Infinity, ratio);
  }
  return least;
}
