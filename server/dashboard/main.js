// The page: which model is shown, when the server is asked, and what is known of the connection.
import { AccuracyChart } from './accuracy_chart.js';
import { CallError, Code, get, getText, isToken, modelPath, setToken, token } from './api.js';
import { Checkpoints } from './checkpoints.js';
import { announce, byId, make, setText, whenChanged } from './elements.js';
import { sentenceOf, showEvents } from './events.js';
import { History, eventsOf } from './history.js';
import { showLegend, showMatrix } from './matrix.js';
import { Memory } from './memory.js';
import { samplesOf } from './metrics.js';
import { Stream } from './stream.js';
import { obstacleOf, showFacts, showTiles } from './summary.js';
import { Tasks } from './tasks.js';

const pollMs = 1500;
const backOffMaxMs = 8000;
const lostAfterMs = 8000;
const listEvery = 8; // polls between looks at the list of models and the server
const shareOfTime = 0.25; // of the page's time that refreshes may take

const page = {
  role: '',
  model: '',
  reading: 'class',
  allCells: false,
  paused: false,
  polls: 0,
  failures: 0,
  timer: 0,
  lastMs: 0,
  takenMs: 0,
  refreshing: false,
  shown: undefined,
  absent: '', // that a model which was asked for is not there
  seen: undefined,
  history: new History(),
};

const tasks = new Tasks(() => page.shown && drawTasks(page.shown));
const checkpoints = new Checkpoints(() => refresh());
const accuracy = new AccuracyChart(byId('accuracy'));
const stream = new Stream();
const memory = new Memory();

// ---- the connection

function setLink(state, text) {
  const link = byId('link');
  if (
    link.dataset.state !== state &&
    ['lost', 'live'].includes(state) &&
    link.dataset.state !== 'connecting'
  ) {
    announce(state === 'lost' ? 'The server does not answer.' : 'The server answers.');
  }
  link.dataset.state = state;
  byId('content').classList.toggle('old', state === 'lost' || state === 'stale');
  setText(byId('link-text'), text);
}

function showLink() {
  if (page.paused) return setLink('paused', 'paused');
  if (!byId('token-form').hidden) return setLink('locked', 'needs a token');
  const seconds = Math.round((performance.now() - page.lastMs) / 1000);
  if (page.failures === 0)
    return setLink(page.lastMs ? 'live' : 'connecting', page.lastMs ? 'live' : 'connecting');
  const since = page.lastMs ? `, numbers are ${seconds} s old` : '';
  const lost = !page.lastMs || performance.now() - page.lastMs > lostAfterMs;
  return setLink(lost ? 'lost' : 'stale', `${lost ? 'disconnected' : 'stale'}${since}`);
}

function schedule() {
  clearTimeout(page.timer);
  if (page.paused || document.hidden || !byId('token-form').hidden) return;
  const backOff = Math.min(pollMs * 2 ** page.failures, backOffMaxMs);
  page.timer = setTimeout(refresh, Math.max(backOff, page.takenMs / shareOfTime));
}

// ---- asking

async function refresh() {
  if (page.refreshing) return;
  page.refreshing = true;
  clearTimeout(page.timer);
  const began = performance.now();
  try {
    if (page.polls % listEvery === 0 || !page.model || page.absent) await refreshList();
    if (page.model) await refreshModel();
    page.polls += 1;
    page.failures = 0;
    page.lastMs = performance.now();
  } catch (error) {
    if (!(error instanceof CallError)) throw error;
    meet(error);
  } finally {
    page.refreshing = false;
    page.takenMs = performance.now() - began;
    showLink();
    schedule();
  }
}

function meet(error) {
  if (error.code === Code.unauthenticated) return askForToken(error.message);
  const deleted = error.code === Code.notFound && page.polls > 0;
  page.polls = 0; // the list says what there is
  if (deleted) return;
  page.failures += 1;
  if (error.code !== 0) notice(error.message);
}

async function refreshList() {
  const [server, list] = await Promise.all([get('/v1/server'), get('/v1/models')]);
  setText(byId('server-version'), server.version);
  if (server.role !== page.role) {
    page.role = server.role;
    checkpoints.allow(page.role === 'admin' ? '' : 'Only an administrator may roll back.');
  }
  const names = (list.models ?? []).map((model) => model.name);
  const wanted = [location.hash.slice(1), page.model].filter(Boolean);
  const absent = wanted.find((name) => !names.includes(name));
  page.absent = absent ? `There is no model ${absent}.` : '';
  choose(wanted.find((name) => names.includes(name)) ?? names[0] ?? '');
  const picker = byId('model');
  picker.disabled = names.length === 0;
  whenChanged(picker, names, () =>
    picker.replaceChildren(...names.map((name) => make('option', {}, name))),
  );
  picker.value = page.model;
  page.warning = server.read_only_reason || (server.warnings ?? []).join(' ');
  if (names.length === 0) {
    document.title = 'Engram';
    notice(`${page.absent} No model yet. The first: engram model create NAME --features N`.trim());
  }
}

async function refreshModel() {
  const name = page.model;
  const path = modelPath(name);
  const [model, report, kept, text] = await Promise.all([
    get(path),
    get(`${path}/report`),
    get(`${path}/checkpoints`),
    getText('/metrics'),
  ]);
  if (name !== page.model) return refreshModel(); // another was picked meanwhile
  const families = samplesOf(text, name);
  return show({ model, report, checkpoints: kept.checkpoints ?? [], families });
}

// ---- showing

function notice(text) {
  byId('notice').hidden = !text;
  setText(byId('notice'), text);
}

function show(state) {
  const { model, report } = state;
  // The same name, another model: deleted and made anew between two looks.
  if (page.shown && page.shown.model.create_time_ms !== model.create_time_ms) forget();
  page.shown = state;
  byId('content').hidden = false;
  document.title = `${model.name} · Engram`;
  page.history.record(report);
  state.events = eventsOf(report, state.checkpoints);
  notice([page.absent, page.warning, obstacleOf(model, report)].filter(Boolean).join(' '));
  showFacts(model, report);
  drawReading(state);
  drawTasks(state);
  stream.show(state.families, report, performance.now());
  memory.show(report, state.families);
  checkpoints.show(model.name, state.checkpoints);
  showEvents(model.name, state.events);
  announceNew(state.events);
}

function drawReading({ report }) {
  showTiles(report, page.reading);
  showMatrix(report, page.reading, page.allCells);
}

function drawTasks({ report, events }) {
  tasks.show(report);
  accuracy.show(report, page.history, events, tasks.columns(report));
}

function announceNew(events) {
  const known = page.seen;
  const keys = events.map((event) => `${event.kind} ${event.sequence}`);
  page.seen = new Set(keys);
  const fresh = events.filter(
    (event, i) => known && !known.has(keys[i]) && event.kind !== 'checkpoint',
  );
  if (fresh.length > 0) announce(fresh.map(sentenceOf).join(' '));
}

function choose(name) {
  if (name === page.model) return;
  page.model = name;
  byId('content').hidden = true; // no numbers of one model under the name of another
  forget();
}

function forget() {
  page.shown = undefined;
  page.seen = undefined;
  page.history = new History();
  stream.forget();
  tasks.forget();
}

// ---- people

function askForToken(why) {
  byId('token-form').hidden = false;
  byId('token-why').textContent = token()
    ? `The token was not accepted: ${why}`
    : 'Give a token. It stays in this tab and goes to this server only.';
  byId('content').hidden = true;
  byId('forget-token').hidden = true;
  setToken('');
  byId('token').focus();
}

function changeToken(value) {
  setToken(value);
  byId('token').value = '';
  byId('token-form').hidden = true;
  byId('forget-token').hidden = !value;
  page.role = '';
  page.polls = 0;
  refresh();
}

byId('token-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const given = byId('token').value.trim();
  if (isToken(given)) changeToken(given);
  else setText(byId('token-why'), 'This is no token: those have ASCII characters only.');
});
byId('forget-token').addEventListener('click', () => changeToken(''));
byId('model').addEventListener('change', ({ target }) => {
  choose(target.value);
  history.replaceState(null, '', `#${target.value}`);
  refresh();
});
// The address ends with the model's name, which a jump to #main would replace.
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  byId('main').focus();
  byId('main').scrollIntoView();
});
window.addEventListener('hashchange', () => {
  page.polls = 0;
  refresh();
});
byId('reading').addEventListener('change', ({ target }) => {
  page.reading = target.value;
  if (page.shown) drawReading(page.shown);
});
byId('matrix-all').addEventListener('click', () => {
  page.allCells = !page.allCells;
  if (page.shown) drawReading(page.shown);
});
byId('pause').addEventListener('click', ({ target }) => {
  page.paused = !page.paused;
  target.setAttribute('aria-pressed', String(page.paused));
  setText(target, page.paused ? 'Resume updates' : 'Pause updates');
  showLink();
  if (page.paused) clearTimeout(page.timer);
  else refresh();
});
document.addEventListener('visibilitychange', () =>
  document.hidden ? clearTimeout(page.timer) : refresh(),
);
setInterval(showLink, 1000);

showLegend();
byId('forget-token').hidden = !token();
refresh();
