// Calls of the server's REST API. The token lives in sessionStorage: this tab, until it is closed.

const storageKey = 'engram-token';
const patienceMs = 8000;

export const Code = { aborted: 10, permissionDenied: 7, unauthenticated: 16, notFound: 5 };

// What the server answered (google.rpc.Status), or code 0: it did not.
export class CallError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

export function token() {
  return sessionStorage.getItem(storageKey) ?? '';
}

// A header holds no other characters: fetch() would throw, as if there were no connection.
export const isToken = (value) => /^[\x20-\x7e]+$/.test(value);

export function setToken(value) {
  if (value) sessionStorage.setItem(storageKey, value);
  else sessionStorage.removeItem(storageKey);
}

// `read`: what is wanted of the answer. A server may also go while its answer is being read.
async function call(path, read, options = {}) {
  const headers = { ...options.headers };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  let response;
  try {
    response = await fetch(path, {
      ...options,
      headers,
      cache: 'no-store',
      signal: AbortSignal.timeout(options.patienceMs ?? patienceMs),
    });
    if (response.ok) return await read(response);
  } catch (error) {
    throw new CallError(0, error.name === 'TimeoutError' ? 'no answer' : 'no connection');
  }
  throw await refusal(response);
}

const asJson = (response) => response.json();

const codesOfHttp = { 401: Code.unauthenticated, 403: Code.permissionDenied, 404: Code.notFound };

async function refusal(response) {
  const text = await response.text().catch(() => '');
  try {
    const status = JSON.parse(text);
    return new CallError(status.code, status.message);
  } catch {
    return new CallError(codesOfHttp[response.status] ?? 2, text || `HTTP ${response.status}`);
  }
}

export const get = (path) => call(path, asJson);

export const getText = (path) => call(path, (response) => response.text());

// A rollback loads a checkpoint: it may take longer than a look at a number.
export const post = (path, body) =>
  call(path, asJson, {
    method: 'POST',
    body: JSON.stringify(body),
    patienceMs: 120000,
    headers: { 'Content-Type': 'application/json' },
  });

export const modelPath = (name) => `/v1/models/${encodeURIComponent(name)}`;
