// The link to the sandbox: the stream of changes, what is opened, and what is done.

import { store } from "./store.js";

const LONGEST_WAIT = 5000;
export const token = location.hash.slice(1);
// The address of a restarted sandbox differs in its token alone, which loads nothing by itself.
addEventListener("hashchange", () => location.reload());
let source = null;
let seen = "";
let waits = 0;

// The stream begins with a snapshot, or goes on after the last change that was seen.
// `onRefused`: the sandbox was started anew since its address was opened here, so that this window can only look.
export function follow(onState, onRefused) {
  const open = () => {
    source?.close();
    source = new EventSource(seen ? `/stream?after=${encodeURIComponent(seen)}` : "/stream");
    const take = (handle) => (event) => {
      handle(JSON.parse(event.data));
      seen = event.lastEventId;
      waits = 0;
      onState("live");
    };
    source.addEventListener("snapshot", take((content) => {
      store.snapshot(content);
      if (token) fetched("/allowed", { "X-Sandbox-Token": token }).then(({ allowed }) => allowed || onRefused(), () => {});
    }));
    source.addEventListener("changes", take((content) => store.apply(content)));
    source.addEventListener("open", () => onState("live"));
    source.addEventListener("error", () => {
      if (document.hidden) return;
      onState("lost");
      // A browser comes back by itself to a connection that was cut, not to one that was refused with a status.
      if (source.readyState === EventSource.CLOSED) {
        waits += 1;
        setTimeout(open, Math.min(LONGEST_WAIT, 250 * 2 ** waits));
      }
    });
  };
  // A page that nobody sees costs the sandbox nothing.
  document.addEventListener("visibilitychange", () => (document.hidden ? source?.close() : open()));
  open();
}

async function answer(response) {
  let content;
  try {
    content = await response.json();
  } catch {
    content = { problems: [`HTTP ${response.status}`] };
  }
  if (!response.ok) throw new Error((content.problems ?? [`HTTP ${response.status}`]).join("\n"));
  return content;
}

export async function fetched(path, headers = {}) {
  return answer(await fetch(path, { headers }));
}

// Has the sandbox do something; gives what it did, in words. Throws with what was wrong.
export async function perform(command) {
  const response = await fetch("/do", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Sandbox-Token": token },
    body: JSON.stringify(command),
  });
  return (await answer(response)).done;
}
