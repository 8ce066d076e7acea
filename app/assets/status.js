// What to look at now, what a viewer must know, and what went wrong. A hidden live region tells screen readers, now and then.
const SAY_EVERY = 10000 // milliseconds, for the step alone; a new sentence is said at once

export function render({model}) {
  const tell = converse(model, draw)
  const sentence = h("p", {class: "sentence", tabindex: -1})
  const notes = h("ul", {class: "notes"})
  const problem = h("p", {})
  const dismiss = h("button", {type: "button", class: "plain", title: "Dismiss", "aria-label": "Dismiss", onclick: () => tell({dismiss: true})}, "×")
  const banner = h("div", {class: "banner", role: "alert", hidden: true}, problem, dismiss)
  const live = h("div", {class: "said", role: "status", "aria-live": "polite"})
  let said = "", saidAt = 0

  function draw() {
    const state = model.state
    setText(sentence, state.sentence ?? "")
    const told = (state.notes ?? []).map(([, note]) => note).join("\n")
    if (notes.dataset.told !== told) {
      notes.dataset.told = told
      notes.replaceChildren(...(state.notes ?? []).map(([kind, note]) => {
        const item = h("li", {class: kind})
        setSentence(item, note)
        return item
      }))
    }
    notes.hidden = !told
    setSentence(problem, state.problem ?? "")
    hide(banner, !state.problem, sentence)
    const news = `${state.status}. ${state.sentence ?? ""} ${told}`
    const now = performance.now()
    if (news !== said || now - saidAt > SAY_EVERY) {
      setText(live, `${state.status}${state.step == null ? "" : `, step ${state.step}`}. ${state.sentence ?? ""} ${told}`)
      said = news
      saidAt = now
    }
  }

  draw()
  return h("div", {class: "word"}, banner, sentence, notes, live)
}
