/** Waits until the browser has nothing else to do, half a second at most: what is not on the first screen can wait for that. */
export function quiet() {
  return new Promise((go) => ("requestIdleCallback" in window ? requestIdleCallback(go, { timeout: 500 }) : setTimeout(go)))
}
