// A sign-in link carries its secret behind the `#`, which no browser sends anywhere. This takes it out of the address
// at once and puts it into the form. A person presses the button: pages that are only looked at use no link up.
const link = document.getElementById("link");
const form = document.getElementById("login");
if (location.hash.length > 1) {
  link.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname + location.search);
  form.querySelector("button").focus();
}
form.addEventListener("submit", (event) => {
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
});
// a page restored by the back button may be sent again
window.addEventListener("pageshow", () => delete form.dataset.sent);
