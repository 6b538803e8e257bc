// The REST API: one function that fetches, and the signed-in user.

export const session = { user: null, csrf: null };

/** What the API refused: its problem document. */
export class ApiError extends Error {
  constructor(status, problem, retryAfter) {
    const words = problem.detail || problem.title || `The server answered ${status}`;
    super(words.charAt(0).toUpperCase() + words.slice(1));
    this.status = status;
    this.errors = Array.isArray(problem.errors) ? problem.errors : [];
    this.retryAfter = retryAfter;
  }
}

/** Told `out` when a request finds nobody signed in. */
export const signedOut = new EventTarget();

/** Told `down` when the server cannot be reached any more, and `up` when it can again. */
export const reach = new EventTarget();
let reachable = true;

function reached(now) {
  if (now === reachable) return;
  reachable = now;
  reach.dispatchEvent(new Event(now ? 'up' : 'down'));
}

/** Longest wait for an answer, ms. */
const PATIENCE = 30000;

/** Like `fetch`; given up when it is called off or takes too long. */
async function fetchInTime(url, { signal, ...options }) {
  const control = new AbortController();
  const stop = () => control.abort(signal?.reason);
  if (signal?.aborted) stop();
  signal?.addEventListener('abort', stop, { once: true });
  const timer = setTimeout(() => control.abort(new DOMException('', 'TimeoutError')), PATIENCE);
  try {
    return await fetch(url, { ...options, signal: control.signal });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  }
}

const ORDER = { read: 0, viewer: 0, call: 1, staff: 1, admin: 2 };

/** Whether the signed-in user's role reaches `role`. The server decides; this only hides what it would refuse. */
export function may(role) {
  return (ORDER[session.user?.role] ?? -1) >= ORDER[role];
}

/** An address with its query; empty values are left out. */
export function address(path, query) {
  const pairs = Object.entries(query ?? {}).filter(([, v]) => v !== undefined && v !== null && v !== '');
  return pairs.length ? `${path}?${new URLSearchParams(pairs)}` : path;
}

/** Sends a request and reads the JSON of the answer. */
export async function call(method, path, { query, body, signal, headers, tagged } = {}) {
  const options = { method, signal, credentials: 'same-origin', headers: { Accept: 'application/json', ...headers } };
  if (body !== undefined) {
    options.headers['Content-Type'] = 'application/json';
    options.body = JSON.stringify(body);
  }
  if (method !== 'GET' && session.csrf) options.headers['X-CSRF-Token'] = session.csrf;
  let answer;
  try {
    answer = await fetchInTime(address(path, query), options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    reached(false);
    const why = error.name === 'TimeoutError' ? 'The server does not answer.' : 'The server cannot be reached.';
    throw new ApiError(0, { title: `${why} Check the connection and try again.` });
  }
  if (answer.ok) {
    reached(true);
    if (answer.status === 204) return null;
    const type = answer.headers.get('content-type') ?? '';
    const data = await (type.includes('json') ? answer.json() : answer.text());
    return tagged ? { data, etag: answer.headers.get('etag') } : data;
  }
  const told = await answer.json().catch(() => null);
  // A proxy that stands before a server which is gone answers in its own words.
  const gone = !told && [502, 503, 504].includes(answer.status);
  reached(!gone);
  const problem = told ?? (gone ? { title: 'The server cannot be reached. Check the connection and try again.' } : {});
  if (answer.status === 401 && path !== '/api/session') signedOut.dispatchEvent(new Event('out'));
  throw new ApiError(answer.status, problem, Number(answer.headers.get('retry-after')) || undefined);
}

export const get = (path, query, signal) => call('GET', path, { query, signal });

/** Every page of a list, as one. */
export async function getAll(path, query, signal) {
  const items = [];
  let cursor;
  do {
    const page = await get(path, { ...query, limit: 500, cursor }, signal);
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor);
  return { items, next_cursor: null };
}

export const post = (path, body = {}) => call('POST', path, { body });
export const put = (path, body) => call('PUT', path, { body });

/** What lies at a path, with its version. */
export const getTagged = (path, signal) => call('GET', path, { signal, tagged: true });

/** Changes what lies at a path if it is still the version `etag`. */
export async function change(method, path, body, etag) {
  try {
    return await call(method, path, { body, tagged: true, headers: etag ? { 'If-Match': etag } : {} });
  } catch (error) {
    if (error.status === 412) error.message = 'Somebody else has changed this in the meantime. Load the page again to see it.';
    throw error;
  }
}
export const patch = (path, body) => call('PATCH', path, { body });
export const remove = (path, query) => call('DELETE', path, { query });

/** Takes up the session that the browser's cookie stands for. */
export async function resume() {
  try {
    take(await call('GET', '/api/session'));
  } catch (error) {
    if (error.status !== 401 && error.status !== 404) throw error;
    take(null);
  }
  return session.user;
}

export async function signIn(name, password) {
  take(await call('POST', '/api/session', { body: { name, password } }));
}

export async function signOut() {
  await call('DELETE', '/api/session').catch((error) => {
    error.message = `You are still signed in. ${error.message}`;
    throw error;
  });
  take(null);
}

function take(answer) {
  session.user = answer?.user ?? null;
  session.csrf = answer?.csrf ?? null;
}
