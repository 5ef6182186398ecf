// Material's inline script of partials/javascripts/content.html, as a file: opens the tab that the address names.
// @ts-nocheck: plain globals by contract with the theme.
{
  const target = document.getElementById(location.hash.slice(1))
  if (target && target.name) target.checked = target.name.startsWith("__tabbed_")
}
