// Run, Pause, Step, Reset, speed, and where the run is.
const ICONS = {
  run: "M4 2.5v11l9-5.5z",
  pause: "M4 2.5h3v11H4zM9 2.5h3v11H9z",
  step: "M3 2.5v11l7-5.5zM11 2.5h2.5v11H11z",
  fork: "M3 13h2.2c2.2 0 2.6-2.2 3.4-4.3S10.4 4.5 12 4.500h.5V2l3 3.300-3 3.300V6.200H12c-1 0-1.400 1.300-2.100 3.100-.9 2.300-1.700 5.400-4.700 5.400H3zM3 3.600h2.500c1.200 0 2 .8 2.600 1.700L7.200 7C6.700 6 6.200 5.300 5.400 5.300H3z",
  drop: "M3.500 2.300 8 6.800l4.500-4.500 1.200 1.200L9.200 8l4.500 4.500-1.200 1.200L8 9.200l-4.500 4.500-1.200-1.200L6.800 8 2.300 3.500z",
  reset: "M8 2.5a5.5 5.5 0 1 0 5.3 4h-1.6A4 4 0 1 1 8 4v2.4l3.6-3.2L8 0z",
}
const SPEEDS = [1, 2, 5, 10, 20, 50, 100, null]

export function render({model}) {
  const tell = converse(model, draw)
  const buttons = {}
  const actions = [
    ["run", "Run", "Run, or continue what is shown"],
    ["pause", "Pause", "Pause after the steps being computed"],
    ["step", "Step", "Make exactly one step"],
    ["reset", "Reset", "Begin again from the same initial weights"],
    ["fork", "Fork here", "Two versions from here: the controls act on the new one, the former goes on beneath it"],
    ["drop", "Drop former", "Let the version that was forked go"],
  ]
  for (const [name, label, help] of actions) {
    const icon = h("svg", {viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true"}, h("path", {d: ICONS[name]}))
    buttons[name] = h("button", {type: "button", class: `action ${name}`, title: help, onclick: () => buttons[name].getAttribute("aria-disabled") !== "true" && tell({action: name})}, icon, label)
  }

  const shownSpeed = h("output", {for: "speed"})
  const speed = h("input", {
    type: "range", id: "speed", min: 0, max: SPEEDS.length - 1, step: 1, "data-term": "page.speed",
    oninput: () => sayLimit(SPEEDS[speed.value]),
    onchange: () => tell({speed: SPEEDS[speed.value]}),
  })
  function sayLimit(limit) {
    setText(shownSpeed, limit == null ? "max" : `${limit}/s`)
    speed.setAttribute("aria-valuetext", limit == null ? "as fast as possible" : `${limit} steps a second`)
  }

  let seen = 0
  const step = h("span", {class: "number"})
  const rate = h("span", {class: "number"})

  function draw() {
    const {status = "new", label = "", step: at = null, rate: measured = 0, limit = null, busy = false, forked = false, follows = false} = model.state
    const running = status === "running"
    const waits = busy || status === "starting"
    for (const [name, button] of Object.entries(buttons)) able(button, name === "fork" ? !waits : !follows && (name === "pause" ? running : !waits && !(name === "run" && running)))
    speed.disabled = follows
    const [gone, come] = forked ? [buttons.fork, buttons.drop] : [buttons.drop, buttons.fork]
    come.hidden = false
    hide(gone, true, come)
    buttons.run.classList.toggle("primary", !running)
    buttons.pause.classList.toggle("primary", running)
    if (speed.getRootNode().activeElement !== speed) {
      speed.value = SPEEDS.indexOf(limit)
      sayLimit(limit)
    }
    setText(step, at == null ? "–" : at.toLocaleString("en"))
    setText(rate, running && measured ? `${measured < 10 ? measured.toFixed(1) : Math.round(measured)} steps/s` : label)
  }

  // The plots changed with this state, and repaint in the next frame: once that is over the server may send more.
  function tellDrawn() {
    const {drawing} = model.state
    if (drawing === seen) return
    seen = drawing
    requestAnimationFrame(() => requestAnimationFrame(() => model.send_msg({drawn: drawing})))
  }

  model.on("state", tellDrawn)
  draw()
  return h("div", {class: "deck"},
    h("div", {class: "actions", role: "group", "aria-label": "Run"}, Object.values(buttons)),
    h("div", {class: "speed"}, h("label", {for: "speed", "data-term": "page.speed"}, "Speed"), speed, shownSpeed),
    h("div", {class: "counter"}, h("span", {class: "what"}, "step "), step, h("span", {class: "sep"}, " · "), rate))
}
