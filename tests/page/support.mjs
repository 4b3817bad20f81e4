// What the tests of the page share: a browser with a new profile, the service's own answers, and a connection that can be held.

import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

export const service = new URL(process.env.PAGE_URL);
export const key = process.env.ROWSPOUT_KEY;
export const csvKey = process.env.PAGE_CSV_KEY;
export const site = 'site_page';

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

export const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** Asks the service past the page. */
export async function ask(path, options = {}) {
  const headers = { Authorization: `Bearer ${key}` };
  return fetch(new URL(path, service), { ...options, headers });
}

/** Runs `body` with a page in a browser of its own; fails where its console says something went wrong. */
export async function withPage(options, body) {
  const folder = await mkdtemp(join(tmpdir(), 'rowspout-page-'));
  const context = await chromium.launchPersistentContext(folder, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: FLAGS,
    acceptDownloads: true,
    timezoneId: 'Europe/Lisbon',
    viewport: { width: 1280, height: 900 },
    ...options,
  });
  try {
    const page = context.pages()[0] ?? (await context.newPage());
    const wrong = [];
    const asked = [];
    page.on('pageerror', (error) => wrong.push(String(error)));
    page.on('console', (message) => {
      // Statuses are answers, and the page puts them into words.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) wrong.push(message.text());
    });
    page.on('request', (request) => asked.push(request));
    await body(page, { context, asked });
    if (wrong.length > 0) throw new Error(wrong.join('\n'));
  } finally {
    await context.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Opens the page with a key, to where something can be chosen. */
export async function open(page, { at = service, withKey = key } = {}) {
  await page.goto(at.href);
  await page.getByLabel('Key').fill(withKey);
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('heading', { name: 'Before you download' }).waitFor();
}

/** Chooses the first quarter of 2026, where the events are. */
export async function chooseQuarter(page) {
  await page.getByLabel('First day').fill('2026-01-01');
  await page.getByLabel('Last day').fill('2026-03-31');
  await estimated(page);
}

/** Waits until the estimate is that of what is chosen; the number of events. */
export async function estimated(page) {
  // It is asked for a moment after the last change.
  await page.locator('#estimate[aria-busy=false]').waitFor();
  return Number((await page.locator('#rows').textContent()).replaceAll(',', ''));
}

/** A way to the service on which answers larger than `bytes` are held until they are let go. */
export async function heldService(bytes) {
  let letGo;
  const free = new Promise((resolve) => { letGo = resolve; });
  const sockets = new Set();
  const server = createServer((client) => {
    const upstream = connect(Number(service.port), service.hostname);
    let passed = 0;
    sockets.add(client).add(upstream);
    const end = () => { client.destroy(); upstream.destroy(); };
    for (const socket of [client, upstream]) socket.on('error', end).on('close', end);
    // Compressed, the whole of it would fit into the sockets on the way.
    client.on('data', (chunk) => upstream.write(chunk.toString('latin1').replace(/^accept-encoding:.*\r\n/im, ''), 'latin1'));
    client.on('end', () => upstream.end());
    upstream.on('data', (chunk) => {
      passed += chunk.length;
      client.write(chunk);
      if (passed > bytes) {
        upstream.pause();
        free.then(() => upstream.resume());
      }
    });
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return {
    url: new URL(`http://127.0.0.1:${server.address().port}/`),
    letGo,
    close() {
      letGo();
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
