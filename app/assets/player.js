// The steps of a walk: play, pause, one step on or back, any of them by the slider; the arrow keys and the space bar, too.
const ICONS = {
  first: "M3 2.5h2.2v11H3zM13 2.500v11L6 8z",
  back: "M12 2.5v11L4 8z",
  on: "M4 2.5v11l8-5.500z",
  last: "M3 2.5v11L10 8zM10.800 2.500H13v11h-2.200z",
}
const SPEEDS = [2, 5, 10, 20]

export function render({model}) {
  const tell = converse(model, draw)
  const icon = h("path", {d: PLAYING.play})
  const drawing = (path) => h("svg", {viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true"}, path)
  const word = h("span", {}, "Play")
  const play = h("button", {type: "button", class: "action primary", title: "Play (space)", onclick: () => playing.on ? stop() : start()}, drawing(icon), word)
  const button = (name, label, act) => h("button", {type: "button", class: "action", title: label, "aria-label": label, onclick: () => { stop(); act() }}, drawing(h("path", {d: ICONS[name]})))
  const first = button("first", "To the start (Home)", () => look(0))
  const back = button("back", "One step back (←)", () => look(at - 1))
  const on = button("on", "One step on (→)", () => look(at + 1))
  const last = button("last", "To the last step (End)", () => look(model.state.last))
  const slider = h("input", {type: "range", id: "moment", min: 0, step: 1, "aria-label": "Step shown", oninput: () => { stop(); look(Number(slider.value)) }})
  const shown = h("output", {for: "moment"})
  const speed = dropdown("speed", "Steps a second", SPEEDS.map((value) => [String(value), `${value} steps/s`]), () => { if (playing.on) start() })
  speed.set("5")
  let at = 0, walk = 0, wanted = null

  // One message at a time: the next leaves when the page has answered the last.
  function look(step) {
    at = Math.min(Math.max(step, 0), model.state.last ?? 0)
    slider.value = at
    say()
    if (tell.answered()) tell({moment: at})
    else wanted = at
  }
  const playing = clock(() => { if (at >= model.state.last) stop(); else look(at + 1) }, () => {
    icon.setAttribute("d", playing.on ? PLAYING.pause : PLAYING.play)
    setText(word, playing.on ? "Pause" : "Play")
  })
  const stop = playing.stop
  function start() {
    if (at >= model.state.last) look(0)
    playing.start(1000 / Number(speed.element.value))
  }
  function say() {
    setText(shown, `step ${at.toLocaleString("en")} of ${(model.state.last ?? 0).toLocaleString("en")}`)
    slider.setAttribute("aria-valuetext", `step ${at}`)
  }

  function draw() {
    const {last: end = 0, moment = 0, walk: shownWalk = 0} = model.state
    slider.max = end
    const next = shownWalk === walk ? wanted : null // a step of the former walk is none of this one
    wanted = null
    if (next !== null) return look(next)
    walk = shownWalk
    at = moment
    slider.value = at
    say()
  }

  onKeys({ArrowRight: () => { stop(); look(at + 1) }, ArrowLeft: () => { stop(); look(at - 1) }, PageDown: () => { stop(); look(at + 1) }, PageUp: () => { stop(); look(at - 1) },
    Home: () => { stop(); look(0) }, End: () => { stop(); look(model.state.last) }, " ": () => play.click()})

  draw()
  return h("div", {class: "deck player"},
    h("div", {class: "actions", role: "group", "aria-label": "Play"}, play, first, back, on, last),
    slider, shown, speed.element)
}
