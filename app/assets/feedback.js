// The feedback that keeps an adaptive optimizer at its edge (lessons/feedback.py): parts as cards, and arrows that are lit while they act.
const TALL = 31 // widths of the type, below which the diagram has two columns
const HEAD = 7 // pixels of an arrow's head
const GLYPHS = {rises: "▲ rises", falls: "▼ falls", steady: "steady"}
// Arrow -> [side of the source, how far along it, side of the target, how far along it], in three columns and in two.
const ROUTES = {
  "sharpening hessian": ["bottom", 0.5, "top", 0.5],
  "hessian effective": ["bottom", 0.5, "left", 0.3],
  "step_sizes effective": ["top", 0.5, "left", 0.7],
  "effective oscillation": ["right", 0.5, "bottom", 0.3],
  "oscillation hessian": ["left", 0.5, "right", 0.5],
  "oscillation gradient": ["bottom", 0.72, "top", 0.72],
  "gradient nu": ["left", 0.5, "right", 0.5],
  "nu step_sizes": ["left", 0.5, "right", 0.5],
}
const TALL_ROUTES = {
  ...ROUTES,
  "hessian effective": ["bottom", 0.5, "top", 0.5],
  "step_sizes effective": ["top", 0.5, "bottom", 0.5],
  "effective oscillation": ["right", 0.2, "bottom", 0.06],
  "oscillation gradient": ["bottom", 0.6, "top", 0.6],
  "gradient nu": ["bottom", 0.6, "top", 0.6],
}

export function render({model}) {
  const loop = h("div", {class: "loop", role: "img"})
  const watch = new ResizeObserver(wire)
  let wires = h("svg", {class: "wires", "aria-hidden": "true"}), placed = []

  function draw() {
    const {nodes = [], arrows = [], step = null, sentence = ""} = model.state
    loop.setAttribute("aria-label", sentence)
    const sharpening = arrows.find(({source}) => source === "sharpening")
    loop.replaceChildren(
      wires,
      ...sharpening ? [h("span", {class: `source ${sharpening.lit ? "lit" : ""}`, "data-part": "sharpening"}, sharpening.label)] : [],
      ...step == null ? [] : [h("span", {class: "step"}, `step ${step.toLocaleString("en")}`)],
      ...nodes.map(part),
      nodes.length ? h("span", {class: "reading"}, "Lit arrows act now: ", h("b", {class: "up"}, "blue raises"), ", ", h("b", {class: "down"}, "orange lowers"), " what it points to. + goes with its source, − against it.") : "")
    wire()
  }

  function part({key, name, symbol, quantity, value, words, trend, path, mark}) {
    const newest = path.at(-1)
    return h("div", {class: `part ${trend}`, style: `grid-area: ${key}`, "data-part": key},
      h("span", {class: "name"}, name),
      h("span", {class: "quantity"}, h("span", {class: "letter"}, symbol), quantity && ` ${quantity}`),
      h("span", {class: "now"}, h("span", {class: "value"}, value), h("span", {class: "trend"}, GLYPHS[trend] ?? "")),
      words && h("span", {class: "words"}, words),
      h("div", {class: "past"},
        h("svg", {viewBox: "0 0 100 100", preserveAspectRatio: "none"},
          mark == null ? null : h("path", {class: "edge", d: `M0 ${100 - 100 * mark}H100`}),
          h("path", {class: "curve", d: curve(path)})),
        newest == null ? null : h("span", {class: "newest", style: `bottom: ${100 * newest}%`})))
  }

  function curve(path) {
    const at = (i) => `${(100 * i / (path.length - 1)).toFixed(2)} ${(100 - 100 * path[i]).toFixed(2)}`
    return path.map((y, i) => y == null ? "" : `${i && path[i - 1] != null ? "L" : "M"}${at(i)}`).join("")
  }

  // Arrows run between the cards wherever these have come to stand.
  function wire() {
    if (!loop.clientWidth) return // not in the page yet
    const type = parseFloat(getComputedStyle(loop).fontSize)
    loop.classList.toggle("tall", loop.clientWidth < TALL * type)
    const routes = loop.classList.contains("tall") ? TALL_ROUTES : ROUTES
    const own = loop.getBoundingClientRect()
    const boxes = new Map([...loop.querySelectorAll("[data-part]")].map((element) => [element.dataset.part, element.getBoundingClientRect()]))
    const place = (name, side, share) => {
      const box = boxes.get(name)
      const [x, y] = [box.left - own.left, box.top - own.top]
      return {left: [x, y + share * box.height], right: [x + box.width, y + share * box.height],
        top: [x + share * box.width, y], bottom: [x + share * box.width, y + box.height]}[side]
    }
    placed.forEach((element) => element.remove())
    placed = []
    const lines = []
    for (const {source, target, sign, label, push} of model.state.arrows ?? []) {
      const [from, out, to, into] = routes[`${source} ${target}`]
      if (!boxes.has(source) || !boxes.has(target)) continue
      const [start, end] = [place(source, from, out), place(target, to, into)]
      const bent = ["top", "bottom"].includes(from) !== ["top", "bottom"].includes(to)
      const tall = loop.classList.contains("tall")
      const corner = bent && !tall ? (["top", "bottom"].includes(from) ? [start[0], end[1]] : [end[0], start[1]]) : null
      const before = corner ?? start
      const length = Math.hypot(end[0] - before[0], end[1] - before[1]) || 1
      const along = [(end[0] - before[0]) / length, (end[1] - before[1]) / length]
      const neck = [end[0] - HEAD * along[0], end[1] - HEAD * along[1]]
      const round = corner && Math.min(type, length / 2, Math.hypot(corner[0] - start[0], corner[1] - start[1]) / 2)
      const bend = corner && `L${toward(corner, start, round)}Q${corner} ${toward(corner, neck, round)}`
      lines.push(h("path", {class: push, d: `M${start}${bend ?? ""}L${neck}`}))
      const side = [-along[1] * HEAD * 0.6, along[0] * HEAD * 0.6]
      lines.push(h("path", {class: `head ${push}`, d: `M${end}L${neck[0] + side[0]} ${neck[1] + side[1]}L${neck[0] - side[0]} ${neck[1] - side[1]}Z`}))
      const middle = corner ?? [(start[0] + neck[0]) / 2, (start[1] + neck[1]) / 2]
      placed.push(h("span", {class: `sign ${push}`, style: `left: ${middle[0]}px; top: ${middle[1]}px`}, sign))
      if (label && source !== "sharpening") { // beneath the level part of its arrow
        const [left, right] = corner ? [start[0], corner[0]] : [end[0], start[0]]
        placed.push(h("span", {class: `label ${push}`, style: `left: ${left}px; width: ${right - left}px; top: ${middle[1]}px`}, label))
      }
    }
    wires.replaceChildren(...lines)
    loop.append(...placed)
  }

  function toward(from, to, distance) {
    const length = Math.hypot(to[0] - from[0], to[1] - from[1]) || 1
    return [from[0] + (to[0] - from[0]) * distance / length, from[1] + (to[1] - from[1]) * distance / length]
  }

  model.on("state", draw)
  model.on("remove", () => watch.disconnect())
  draw()
  watch.observe(loop)
  return loop
}
