// A step of a lesson: words, answers to choose among, what is revealed. Panels stand outside, in the page's grid: those of the step are shown.
export function render({model}) {
  const tell = converse(model, draw)
  const lesson = h("p", {class: "lesson"})
  const title = h("h2", {tabindex: -1})
  const about = h("div", {class: "intro"})
  const words = h("div", {class: "words"})
  const choices = h("div", {class: "answers", role: "group", "aria-label": "Answers"})
  const answer = h("div", {class: "reveals", "aria-live": "polite"})
  let step = null

  function setHtml(element, html) {
    if (element.dataset.html === html) return
    element.dataset.html = html
    element.innerHTML = html
    element.hidden = !html
    for (const wide of element.querySelectorAll(".math.block, table, pre")) reach.observe(wide)
  }

  // What is wider than the page is scrolled, by the keyboard too.
  const reach = new ResizeObserver((entries) => {
    for (const {target} of entries) {
      if (target.scrollWidth > target.clientWidth) target.tabIndex = 0
      else target.removeAttribute("tabindex")
    }
  })

  // One answer of a question; once it is answered every one says whether it is right.
  function choice([html, right], i) {
    const element = h("button", {type: "button", onclick: () => right == null && tell({pick: i})}, h("span", {class: "box", "aria-hidden": "true"}), h("span", {class: "text"}))
    element.querySelector(".text").innerHTML = html
    if (right != null) {
      const chosen = model.state.picked === i
      element.classList.add(right ? "right" : "wrong")
      element.classList.toggle("chosen", chosen)
      element.setAttribute("aria-disabled", "true")
      element.querySelector(".text").append(h("span", {class: "verdict"}, right ? (chosen ? " – right" : " – this one") : chosen ? " – no" : ""))
    }
    return element
  }

  function arrange(panels) {
    const grid = document.getElementById("plots")
    for (const card of grid.querySelectorAll("article.card")) {
      const place = panels.indexOf(card.id)
      card.hidden = place < 0
      card.style.order = place < 0 ? "" : place
    }
    grid.hidden = !panels.length
    document.body.dataset.panels = panels.filter((panel) => panel !== "results").length
    window.dispatchEvent(new Event("resize"))
  }

  let arranged = null
  function draw() {
    const state = model.state
    setText(lesson, state.lesson ?? "")
    setText(title, state.title ?? "")
    setHtml(about, state.about ?? "")
    setHtml(words, state.words ?? "")
    setHtml(answer, state.answer ?? "")
    const signature = JSON.stringify([state.choices, state.picked])
    if (choices.dataset.drawn !== signature) {
      const focused = [...choices.children].indexOf(choices.getRootNode().activeElement)
      choices.dataset.drawn = signature
      choices.replaceChildren(...(state.choices ?? []).map(choice))
      if (focused >= 0) (choices.children[focused] ?? title).focus()
      choices.hidden = !state.choices?.length
    }
    const panels = JSON.stringify(state.panels ?? [])
    if (arranged !== panels) arrange(state.panels ?? [])
    arranged = panels
    const now = `${state.lesson} ${state.title}`
    if (step !== null && step !== now) { title.focus({preventScroll: true}); window.scrollTo(0, 0) } // read aloud from here
    step = now
  }

  // What the handout takes from the step that is open.
  window.cflowsStep = () => {
    const {lesson = "", title = "", about = "", words = "", choices = [], answer = "", panels = []} = model.state
    return {lesson, title, intro: about, words, answers: choices, reveals: answer, panels: panels.filter((panel) => !document.getElementById(panel)?.hidden)}
  }

  draw()
  return h("article", {class: "story"}, lesson, title, about, words, choices, answer)
}
