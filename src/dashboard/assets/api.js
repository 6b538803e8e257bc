// The REST API: one function that fetches, and the signed-in user.

export const session = { user: null, csrf: null };

/** What the API refused: its problem document. */
export class ApiError extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.detail || problem.title || `The server answered ${status}`);
    this.status = status;
    this.errors = Array.isArray(problem.errors) ? problem.errors : [];
    this.retryAfter = retryAfter;
  }
}

/** Told when a request finds nobody signed in. */
export const signedOut = new EventTarget();

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
    answer = await fetch(address(path, query), options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, { title: 'The server cannot be reached. Check the connection and try again.' });
  }
  if (answer.ok) {
    if (answer.status === 204) return null;
    const type = answer.headers.get('content-type') ?? '';
    const data = await (type.includes('json') ? answer.json() : answer.text());
    return tagged ? { data, etag: answer.headers.get('etag') } : data;
  }
  const problem = await answer.json().catch(() => ({}));
  if (answer.status === 401 && path !== '/api/session') signedOut.dispatchEvent(new Event('out'));
  throw new ApiError(answer.status, problem, Number(answer.headers.get('retry-after')) || undefined);
}

export const get = (path, query, signal) => call('GET', path, { query, signal });
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
  await call('DELETE', '/api/session').catch(() => null);
  take(null);
}

function take(answer) {
  session.user = answer?.user ?? null;
  session.csrf = answer?.csrf ?? null;
}
