// The lessons, and the steps of the one that is open.
export function render({model}) {
  const tell = converse(model, draw)
  const list = h("ul", {class: "contents"})
  let drawn = ""

  function draw() {
    const {lessons = [], lesson = "", steps = [], at = 0} = model.state
    const signature = JSON.stringify([lessons, lesson, steps])
    if (signature !== drawn) {
      drawn = signature
      list.replaceChildren(...lessons.map(([name, title]) => h("li", {},
        h("button", {type: "button", class: "lesson", "aria-expanded": String(name === lesson), onclick: () => tell({lesson: name})}, title),
        name === lesson ? h("ol", {}, steps.map((text, i) => h("li", {}, h("button", {type: "button", class: "step", onclick: () => tell({go: i})}, text)))) : null)))
    }
    list.querySelectorAll(".step").forEach((step, i) => i === at ? step.setAttribute("aria-current", "step") : step.removeAttribute("aria-current"))
  }

  draw()
  return h("nav", {"aria-label": "Lessons and steps"}, list)
}
