// The step that the valley shows and the sentence tells of: any of the run, played through if one likes, or the newest.
const PLAY = {every: 60, steps: 250} // milliseconds between moments, and how many of them make a run

export function render({model}) {
  const icon = h("path", {d: PLAYING.play})
  const play = h("button", {type: "button", class: "plain", onclick: () => playing.on ? stop() : start()},
    h("svg", {viewBox: "0 0 16 16", width: 13, height: 13, "aria-hidden": "true"}, icon))
  const slider = h("input", {type: "range", id: "moment", step: 1, "aria-label": "Step shown in the valley", oninput: () => { stop(); look(Number(slider.value)) }})
  const shown = h("output", {for: "moment"})
  const newest = h("button", {type: "button", class: "plain newest", title: "Show the newest step again", onclick: () => { stop(); look(null) }}, "Newest")
  const element = h("div", {class: "moment"}, play, slider, shown, newest)
  let at = 0, wanted, asked

  // One message at a time: the next leaves when the page has answered the last.
  function look(step) {
    wanted = step
    say(step ?? model.state.last)
    if (asked === undefined) ask()
  }
  function ask() {
    asked = wanted
    model.send_msg({moment: wanted})
  }
  function say(step) {
    setText(shown, `step ${step.toLocaleString("en")}`)
    slider.setAttribute("aria-valuetext", `step ${step}`)
  }

  const playing = clock(() => {
    const {first, last: end} = model.state
    at += Math.max(1, (end - first) / PLAY.steps)
    if (at >= end) { stop(); look(null) } else { slider.value = at; look(Math.round(at)) }
  }, label)
  const stop = playing.stop
  function start() {
    const {first, last} = model.state
    at = Number(slider.value) >= last ? first : Number(slider.value) // the page's answer may still be under way
    playing.start(PLAY.every)
  }
  function label() {
    icon.setAttribute("d", playing.on ? PLAYING.pause : PLAYING.play)
    play.title = playing.on ? "Stop" : "Play through the run's steps"
    play.setAttribute("aria-label", play.title)
  }

  function draw() {
    const {first = 0, last = 0, moment = null} = model.state
    element.classList.toggle("empty", last <= first)
    slider.min = first
    slider.max = last
    slider.disabled = play.disabled = last <= first
    hide(newest, moment == null, slider)
    if (asked !== undefined && (moment ?? null) === asked) asked = undefined
    if (asked === undefined && wanted !== undefined && wanted !== moment) return ask()
    wanted = undefined
    if (!playing.on && slider.getRootNode().activeElement !== slider || moment == null) slider.value = moment ?? last
    say(moment ?? last)
  }

  model.on("state", draw)
  label()
  draw()
  return element
}
