'use strict';

const modes = {
  auto: ['Auto', 'The default. Each piece leaves once it is stored, and a seek asks for its own bytes at once.'],
  whole: ['Whole', 'All of it is stored before the first byte leaves. One call brings it; a seek waits until the end.'],
  progressive: ['Progressive', 'Each chunk leaves once it is stored. One call brings all; a seek waits for its chunk.'],
  sliced: ['Sliced', 'Only the chunks that somebody asks for are fetched, by ranges; a seek asks for its own.'],
};

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

const duration = ms => ms < 1000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
const kibibytes = bytes => `${Math.round(bytes / 1024)} KiB`;
const times = count => count === 1 ? '1 call' : `${count} calls`;

// The sample is in the address, so that a page can be loaded again.
const samples = [...document.querySelectorAll('#samples input')];
const named = new URLSearchParams(location.search).get('sample');
const chosen = samples.find(input => input.value === named) ?? samples[0];
const sample = chosen.value;
chosen.checked = true;
document.querySelector('#about').textContent = chosen.parentElement.title;
for (const input of samples) {
  input.addEventListener('change', () => { location.search = `?sample=${input.value}`; });
}

class Player {
  constructor(mode) {
    const [name, about] = modes[mode];
    this.mode = mode;
    this.loads = 0;
    this.chunks = [];
    // The awaited event, and since when.
    this.waits = null;

    // A video is not loaded before it is played, so the page shows the first wait.
    this.video = element('video', {controls: true, muted: true, playsInline: true, preload: 'none'});
    this.video.dataset.mode = mode;
    this.strip = element('div', {className: 'strip'});
    this.strip.setAttribute('role', 'group');
    this.playhead = element('div', {className: 'playhead', hidden: true});
    this.calls = element('div', {className: 'calls', title: 'What each call of the inner service asked for'});
    this.called = element('dd');
    this.has = element('dt');
    this.fetched = element('dd');
    this.starts = element('ol', {className: 'starts'}, element('li', {className: 'none'}, 'How long the picture takes: play it.'));
    const button = (text, act, className = '', label = text) => {
      const made = element('button', {textContent: text, className, ariaLabel: label});
      made.addEventListener('click', act);
      return made;
    };
    this.again = button('Play', () => this.play(), 'first', null);
    this.loser = button('Lose a chunk', () => this.loseAny());
    this.card = element('article', {},
      element('div', {className: 'what'}, element('h3', {}, name), element('p', {}, about)),
      this.video,
      element('div', {className: 'seen'},
        element('div', {className: 'map'}, this.strip, this.playhead, this.calls),
        element('dl', {}, element('dt', {}, 'Inner service'), this.called, this.has, this.fetched),
        this.starts,
        element('div', {className: 'buttons'},
          this.again,
          button('To 80 %', () => this.seek(), '', 'Seek to 80 %'),
          this.loser,
          button('Empty', () => this.empty(), '', 'Empty the cache'),
          element('a', {textContent: 'Figures', href: `/figures/${mode}/${sample}/`, ariaLabel: `Figures of the cache ${mode}`}))));
    this.card.dataset.mode = mode;

    this.video.addEventListener('playing', () => this.waits?.until === 'playing' && this.arrived());
    this.video.addEventListener('seeked', () => this.waits?.until === 'seeked' && this.arrived());
    this.video.addEventListener('seeking', () => { if (!this.waits) this.wait('seek', 'seeked'); });
    this.video.addEventListener('play', () => { if (!this.waits && !this.began) this.wait('play', 'playing'); });
    this.video.addEventListener('error', () => this.failed());
    this.load();
  }

  load() {
    // A fragment never leaves the browser, but makes it forget its bytes of this address.
    this.video.src = `/videos/${this.mode}/${sample}#${this.loads += 1}`;
    this.began = false;
    this.waits = null;
  }

  play() {
    if (this.began || this.video.error) this.load();
    this.wait('play', 'playing');
    this.video.play().catch(() => {});
  }

  seek() {
    const {video} = this;
    if (video.error) this.load();
    this.wait('seek', 'seeked');
    const seek = () => {
      video.currentTime = 0.8 * video.duration;
      video.play().catch(() => {});
    };
    if (video.readyState >= HTMLMediaElement.HAVE_METADATA) return seek();
    video.addEventListener('loadedmetadata', seek, {once: true});
    video.preload = 'auto';
  }

  wait(what, until) {
    const cold = !this.chunks.some(isStored);
    this.began = true;
    this.waits = {what: cold ? `cold ${what}` : what, until, since: performance.now()};
    this.again.textContent = 'Play again';
  }

  arrived() {
    const {what, since} = this.waits;
    const ms = performance.now() - since;
    this.waits = null;
    const bar = element('i');
    bar.style.width = `${Math.min(100, ms / 50)}%`;
    this.note(element('li', {className: ms > 500 ? 'slow' : ''}, what, bar, element('b', {}, duration(ms))));
  }

  failed() {
    this.waits = null;
    this.note(element('li', {className: 'failed none'}, this.video.error?.message || 'The video could not be played.'));
  }

  note(line) {
    if (this.starts.firstChild.className === 'none') this.starts.firstChild.remove();
    this.starts.prepend(line);
    while (this.starts.children.length > 3) this.starts.lastChild.remove();
  }

  async empty() {
    await fetch(`/stored/${this.mode}/${sample}`, {method: 'DELETE'});
    this.video.preload = 'none';
    this.load();
    this.again.textContent = 'Play';
  }

  lose(chunk) {
    return fetch(`/stored/${this.mode}/${sample}/${chunk}`, {method: 'DELETE'});
  }

  /** One in the middle, so that it is met on the way. */
  loseAny() {
    const stored = [...this.chunks.keys()].filter(chunk => isStored(this.chunks[chunk]));
    if (stored.length) return this.lose(stored[Math.floor((0.25 + Math.random() / 2) * stored.length)]);
  }

  show({length, chunks, asked, inner_calls, fetched}) {
    this.chunks = chunks;
    while (this.strip.children.length < chunks.length) {
      const chunk = this.strip.children.length;
      // A keyboard user has a button for all of them.
      const cell = element('button', {tabIndex: -1});
      cell.addEventListener('click', () => this.lose(chunk));
      this.strip.append(cell);
    }
    const counts = {};
    chunks.forEach((state, chunk) => {
      const cell = this.strip.children[chunk];
      counts[state] = (counts[state] ?? 0) + 1;
      if (cell.className === state) return;
      cell.className = state;
      cell.disabled = !isStored(state);
      cell.title = `Chunk ${chunk}: ${state}${cell.disabled ? '' : '. Click to lose it'}`;
    });
    const summary = Object.entries(counts).map(([state, count]) => `${count} ${state}`).join(', ');
    this.strip.setAttribute('aria-label', `${chunks.length} chunks: ${summary}`);
    this.loser.disabled = !chunks.some(isStored);
    this.called.textContent = inner_calls ? times(inner_calls) : 'not called yet';
    this.has.textContent = `Fetched; the video has ${kibibytes(length)}`;
    this.fetched.textContent = kibibytes(fetched);
    this.showCalls(asked, chunks.length);
  }

  /** A bar for each call, below others that asked for the same. */
  showCalls(asked, length) {
    const lanes = [];
    this.calls.replaceChildren(...asked.filter(([start, end]) => start < end).map(([start, end]) => {
      let lane = lanes.findIndex(spans => spans.every(span => end <= span[0] || span[1] <= start));
      if (lane < 0) lane = lanes.push([]) - 1;
      lanes[lane].push([start, end]);
      const bar = element('i', {title: `Chunks ${start} to ${end - 1}`});
      bar.style.left = `calc(${100 * start / length}% + 1px)`;
      bar.style.width = `calc(${100 * (end - start) / length}% - 3px)`;
      bar.style.top = `${7 * lane}px`;
      return bar;
    }));
    this.calls.style.height = `${7 * lanes.length}px`;
  }

  /** The bytes are near enough to the time for a marker. */
  showPlayhead() {
    const {currentTime, duration} = this.video;
    this.playhead.hidden = !(duration > 0);
    if (duration > 0) this.playhead.style.left = `${100 * currentTime / duration}%`;
  }
}

const isStored = state => state === 'stored' || state === 'served' || state === 'healed';

const row = request => {
  const cell = (text, className = '') => element('td', {className}, text ?? '');
  const inner = request.inner_called;
  const first = request.first_byte_ms;
  return element('tr', {className: inner ? 'miss' : 'hit'},
    cell(request.number, 'number'),
    cell(request.mode),
    cell(`${request.method} ${request.range ?? ''}`),
    cell(request.status),
    cell(request.content_range),
    element('td', {}, element('span', {className: 'tag'}, request.cache_status ?? 'none')),
    cell(inner ? 'called' : '\u2013'),
    cell(first === null ? '\u2013' : duration(first), 'number'),
    cell(kibibytes(request.sent), 'number'));
};

const players = Object.keys(modes).map(mode => new Player(mode));
document.querySelector('#players').append(...players.map(player => player.card));
for (const button of document.querySelectorAll('[data-all]')) {
  button.addEventListener('click', () => players.forEach(player => player[button.dataset.all]()));
}

let seen = '';
const refresh = async () => {
  try {
    const text = await (await fetch(`/seen/${sample}`)).text();
    if (text !== seen) {
      seen = text;
      const {modes, requests} = JSON.parse(text);
      for (const player of players) player.show(modes[player.mode]);
      if (requests.length) {
        document.querySelector('#log tbody').replaceChildren(...requests.slice(-ROWS).map(row).reverse());
      }
    }
    for (const player of players) player.showPlayhead();
  } catch { /* the app was stopped; it may come back */ }
  setTimeout(refresh, 200);
};

/** As many as anybody reads. */
const ROWS = 60;

refresh();
