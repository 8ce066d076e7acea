// Shared by all components: put in front of each script.
function h(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "rect"].includes(tag)
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value)
    else if (value === true) element.setAttribute(name, "")
    else if (value !== false && value != null) element.setAttribute(name, value)
  }
  element.append(...children.flat().filter((child) => child != null))
  return element
}

// A sample of a curve's stroke, for legends.
function swatch(color, dash, width = 2) {
  const stroke = `stroke: var(--${color}); stroke-width: ${width}; stroke-dasharray: ${dash.join(" ") || "none"}`
  return h("svg", {class: "swatch", viewBox: "0 0 18 8", width: 18, height: 8, "aria-hidden": "true"}, h("line", {x1: 0, x2: 18, y1: 4, y2: 4, style: stroke}))
}

// A row of choices of which one holds: radio buttons that look like one control.
function segmented(name, label, choices, choose) {
  const inputs = new Map()
  const parts = choices.map(([value, text, term]) => {
    const input = h("input", {type: "radio", name, value: String(value), onchange: () => choose(value)})
    inputs.set(value, input)
    return h("label", {"data-term": term}, input, h("span", {}, text))
  })
  const element = h("div", {class: "segmented", role: "radiogroup", "aria-label": label}, parts)
  return {element, set: (value) => { const input = inputs.get(value); if (input) input.checked = true }}
}

// The same for many choices: a list that opens.
function dropdown(name, label, choices, choose) {
  const options = choices.map(([value, text]) => h("option", {value}, text))
  const terms = new Map(choices.map(([value, , term]) => [value, term]))
  const element = h("select", {name, "aria-label": label, title: [...terms.values()].some(Boolean) ? null : label, onchange: () => choose(element.value)}, options)
  return {element, set: (value) => { element.value = value; if (terms.get(value)) element.dataset.term = terms.get(value) }}
}

// A sentence in which `names` stand between backticks.
function setSentence(element, text) {
  if (element.dataset.text === text) return
  element.dataset.text = text
  element.replaceChildren(...text.split("`").map((part, i) => i % 2 ? h("code", {}, part) : part))
}

// Hide an element or show it. What vanishes under the keyboard's focus hands it on to `next`, where it would fall to the page's beginning.
function hide(element, hidden, next) {
  if (hidden && !element.hidden && element.contains(element.getRootNode().activeElement)) next.focus()
  element.hidden = hidden
}

// A button that cannot act at present stays where the keyboard's focus is, and says so: `disabled` would lose it.
function able(button, yes) {
  button.setAttribute("aria-disabled", String(!yes))
}

function setText(element, text) {
  if (element.textContent === text) return
  element.textContent = text
  delete element.dataset.text // so that the sentence that stood there can be set again
}

// The conversation with the server: gives what sends a message, and lets `draw` whatever the server says once it has heard the last one.
// What it said before would turn back a control that was just moved. `answered` says whether it has.
function converse(model, draw) {
  let sent = 0
  const tell = (message) => model.send_msg({...message, sent: ++sent})
  tell.answered = () => (model.state.heard ?? 0) >= sent
  model.on("state", () => { if (tell.answered()) draw() })
  return tell
}

// Keys that act wherever the focus is: not while something is typed, and not where the space bar presses the button that has the focus.
function onKeys(keys) {
  document.addEventListener("keydown", (event) => {
    const target = event.composedPath()[0]
    if (event.ctrlKey || event.metaKey || event.altKey || target.matches?.("input, select, textarea")) return
    if (event.key === " " && target.matches?.("button, a, summary, [tabindex='0']")) return
    const act = keys[event.key]
    if (act) { event.preventDefault(); act() }
  })
}

const PLAYING = {play: "M4 2.5v11l9-5.5z", pause: "M4 2.5h3v11H4zM9 2.5h3v11H9z"}

// Calls `tick` again and again from `start(milliseconds)` to `stop()`, and `changed` after either.
function clock(tick, changed) {
  let timer = null
  const turn = (to) => { clearInterval(timer); timer = to; changed() }
  return {get on() { return timer !== null }, start: (every) => turn(setInterval(tick, every)), stop: () => turn(null)}
}
