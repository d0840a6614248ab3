() => {
  const found = [];
  const seen = (element) => element.checkVisibility({ visibilityProperty: true });
  const name = (element) => (element.getAttribute("aria-label") ?? "") ||
    (element.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join(" ").trim() ||
    [...(element.labels ?? [])].map((it) => it.textContent).join(" ").trim() || element.textContent.trim();
  const where = (element) => element.id ? `#${element.id}` : `${element.tagName.toLowerCase()}.${element.className}`;

  for (const element of document.querySelectorAll("button, select, input, textarea, a[href], [role=button], [role=img], dialog, section, aside, nav, [role=group], meter"))
    if (!name(element)) found.push(`${where(element)} has no name`);
  for (const image of document.images) if (!image.hasAttribute("alt")) found.push(`${where(image)} has no alt`);
  const ids = [...document.querySelectorAll("[id]")].map((it) => it.id);
  for (const id of new Set(ids)) if (ids.indexOf(id) !== ids.lastIndexOf(id)) found.push(`two elements are #${id}`);
  for (const attribute of ["for", "aria-labelledby", "aria-describedby"])
    for (const element of document.querySelectorAll(`[${attribute}]`))
      for (const id of element.getAttribute(attribute).split(" "))
        if (!document.getElementById(id)) found.push(`${where(element)} names #${id}, which is not there`);
  if (document.querySelectorAll("h1").length !== 1) found.push("not one h1");
  if (document.querySelectorAll("main").length !== 1) found.push("not one main");
  if (!document.documentElement.lang) found.push("no language");
  if (document.documentElement.scrollWidth > innerWidth) found.push(`${document.documentElement.scrollWidth} wide, wider than the window`);

  // contrast by WCAG 2, over the colours behind a text
  const scratch = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    scratch.clearRect(0, 0, 1, 1);
    scratch.fillStyle = color;
    scratch.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = scratch.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
    return layers.reduceRight((below, top) => over(top, below), [255, 255, 255]);
  };
  const luminance = (color) => {
    const [r, g, b] = color.map((it) => it / 255).map((it) => (it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const told = new Set();
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.textContent.trim() || !seen(element) || element.closest(".hidden, .skip, option, :disabled")) continue;
    const ground = behind(element);
    const text = over(rgba(getComputedStyle(element).color), ground);
    const [high, low] = [luminance(text), luminance(ground)].sort((a, b) => b - a);
    const contrast = (high + 0.05) / (low + 0.05);
    const style = getComputedStyle(element);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
    if (contrast < (large ? 3 : 4.5) && !told.has(where(element))) {
      told.add(where(element));
      found.push(`${where(element)} has contrast ${contrast.toFixed(2)}`);
    }
  }
  for (const element of document.querySelectorAll("button, select, input:not([type=checkbox]), textarea"))
    if (seen(element) && element.getBoundingClientRect().height < 24) found.push(`${where(element)} is less than 24 px high`);
  return found;
}
