const tip = document.getElementById("tip"), sets = {};
document.addEventListener("pointerover", event => {
  const mark = event.target.closest("[data-points] > use");
  tip.hidden = !mark;
  if (!mark) return;
  const { points, first } = mark.parentNode.dataset;
  const set = sets[points] ??= JSON.parse(document.getElementById(points).textContent);
  const i = [].indexOf.call(mark.parentNode.children, mark) + Number(first);
  const name = c => c < 0 ? "unlabelled" : set.classes[c];
  const lines = [set.kind + " " + set.names[i]];
  if (set.y) lines.push("class: " + name(set.y[i]));
  if (set.predicted) lines.push("prediction: " + name(set.predicted[i]));
  tip.textContent = lines.join("\n");
  tip.style.left = Math.max(4, Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 4)) + "px";
  tip.style.top = Math.max(4, Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 4)) + "px";
});
