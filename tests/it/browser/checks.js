// What is amiss on a page for those who see, hear or move otherwise. Answers one line a fault.
const faults = [];
// What is still changing is looked at as it will be.
for (const a of document.getAnimations()) if (a.effect?.getTiming().iterations !== Infinity) a.finish();
const shown = (e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !e.closest('[aria-hidden=true], [inert]');
const brief = (e) => e.outerHTML.slice(0, 140);
const box = (e) => e.getBoundingClientRect();

// Names.
const named = (e) => e.getAttribute('aria-label') || (e.getAttribute('aria-labelledby') && document.getElementById(e.getAttribute('aria-labelledby'))?.textContent.trim())
  || [...(e.labels ?? [])].some((label) => label.textContent.trim()) || e.textContent.trim() && e.tagName !== 'SELECT' || e.querySelector('img[alt]')?.alt;
const controls = [...document.querySelectorAll('button, a[href], input:not([type=hidden]), select, textarea, summary, [tabindex="0"]')].filter(shown);
for (const e of controls) if (!named(e)) faults.push(`no name: ${brief(e)}`);
for (const e of document.querySelectorAll('img:not([alt])')) faults.push(`no alt: ${e.src}`);
for (const e of document.querySelectorAll('table')) if (!named(e)) faults.push('a table without a name');
const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push(`the id ${id} twice`);
for (const name of ['aria-describedby', 'aria-errormessage', 'aria-controls', 'aria-labelledby']) {
  for (const e of document.querySelectorAll(`[${name}]`)) if (!ids.includes(e.getAttribute(name))) faults.push(`${name} leads nowhere: ${brief(e)}`);
}

// Headings, one after the other.
const headings = [...document.querySelectorAll('h1, h2, h3, h4')].filter((e) => shown(e) && !e.closest('dialog')).map((e) => [Number(e.tagName[1]), e.textContent]);
if (headings.filter(([level]) => level === 1).length !== 1 || headings[0][0] !== 1) faults.push(`headings: ${JSON.stringify(headings)}`);
headings.forEach(([level, text], i) => { if (i && level > headings[i - 1][0] + 1) faults.push(`a heading skips a level: ${text}`); });
if (!document.querySelector('main')) faults.push('no main');
if (!document.title || !document.documentElement.lang) faults.push('no title or no language');

// Nothing sticks out.
if (document.documentElement.scrollWidth > innerWidth) faults.push(`the page scrolls sideways: ${document.documentElement.scrollWidth}`);
for (const e of controls) {
  const inside = e.closest('.timeline-scroll, .cal-scroll, .segments, .skip, .toasts');
  if (!inside && (box(e).right > innerWidth + 1 || box(e).left < -1)) faults.push(`sticks out: ${brief(e)}`);
}
// Words that do not fit into what they stand in, where nothing says that there is more.
for (const e of document.querySelectorAll('button, .button, .pill, .tile .value, .tile .label, h1, h2, th, label')) {
  if (shown(e) && !e.classList.contains('cal-inside') && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline' && !e.querySelector('.unseen') && e.clientWidth > 1) faults.push(`its words do not fit: ${brief(e)}`);
}

// Contrast of every text with what is behind it.
const colour = (text) => {
  const of = text.match(/-?[\d.]+(e-?\d+)?/g)?.map(Number) ?? [0, 0, 0, 0];
  return text.startsWith('color(') ? [of[0] * 255, of[1] * 255, of[2] * 255, of[3] ?? 1] : [of[0], of[1], of[2], of[3] ?? 1];
};
const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
const behind = (e) => {
  const layers = [];
  for (let at = e; at; at = at.parentElement) {
    const layer = colour(getComputedStyle(at).backgroundColor);
    if (layer[3] > 0) layers.push(layer);
    if (layer[3] >= 1) break;
  }
  return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255, 1]);
};
const light = (c) => {
  const [r, g, b] = c.slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
const legible = (e, text, style) => {
  let ink = colour(style.color);
  for (let at = e; at; at = at.parentElement) ink = [ink[0], ink[1], ink[2], ink[3] * Number(getComputedStyle(at).opacity)];
  const ground = behind(e);
  const got = ratio(over(ink, ground), ground);
  const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
  if (got < (large ? 3 : 4.5)) faults.push(`contrast ${got.toFixed(2)}: “${text.trim().slice(0, 40)}” in ${brief(e)}`);
  if (parseFloat(style.fontSize) < 11) faults.push(`letters of ${style.fontSize}: “${text.trim().slice(0, 40)}”`);
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const e = node.parentElement;
  if (!node.data.trim() || !shown(e) || e.closest('script, noscript, option, .unseen, .skip, :disabled, [aria-busy=true]')) continue;
  legible(e, node.data, getComputedStyle(e));
}
for (const e of document.querySelectorAll('input[placeholder], textarea[placeholder]')) {
  if (shown(e) && !e.value) legible(e, e.placeholder, getComputedStyle(e, '::placeholder'));
}

// Fingers are wide.
if (matchMedia('(max-width: 860px)').matches) {
  for (const e of controls) {
    const small = box(e).height < 40 || (box(e).width < 24 && e.tagName !== 'INPUT');
    // Links in a text, ticks beside a label that is pressed as well, the calendar's own scale.
    const excused = e.matches('.skip, .cal-inside, .cal-scroll, .cal-off *, .at, input[type=checkbox], input[type=range], [tabindex="0"]') || (e.tagName === 'A' && !e.matches('.button, .nav a, .tabs-bottom a'));
    if (small && !excused) faults.push(`too small for a thumb (${Math.round(box(e).width)} × ${Math.round(box(e).height)}): ${brief(e)}`);
    if (small && excused && e.tagName === 'A' && box(e).height < 16) faults.push(`a link too small to hit: ${brief(e)}`);
  }
}
return faults;
