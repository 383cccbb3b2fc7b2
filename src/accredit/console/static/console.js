// Pages work without this file. It keeps forms from being sent twice and lists from moving while nobody looks.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});
document.addEventListener("htmx:config:request", (event) => {
  const source = event.detail.ctx.sourceElement;
  if (source.id !== "live") return;
  const paused = document.getElementById("pause-live");
  if (document.hidden || (paused && paused.checked)) event.preventDefault();
});
