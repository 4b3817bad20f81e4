// The page's main path, as somebody walks it who has a key and wants a file.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { ask, chooseQuarter, csvKey, estimated, heldService, key, open, service, sha256, site, withPage } from './support.mjs';

const run = promisify(execFile);
const QUARTER = 'start_date=2026-01-01&end_date=2026-03-31';
const exportOf = async (query) => Buffer.from(await (await ask(`/api/websites/${site}/export?${query}`)).arrayBuffer());
const planOf = async (query) => (await ask(`/api/websites/${site}/export/plan?${query}`)).json();

/** Presses the button and waits for the browser's own file and the page's word on it. */
async function download(page, name) {
  const [saved] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name, exact: true }).click(),
  ]);
  await page.locator('#progress[data-state=complete]').waitFor();
  assert.equal(await saved.failure(), null);
  return { bytes: await readFile(await saved.path()), name: saved.suggestedFilename(), url: saved.url() };
}

test('a wrong key is said at its field, and a right one opens what it opens', () => withPage({}, async (page, { context, asked }) => {
  await page.goto(service.href);
  const field = page.getByLabel('Key');
  await page.getByRole('button', { name: 'Continue' }).click();
  assert.match(await page.locator('#key-error').textContent(), /Enter your key/);
  for (const wrong of ['spk_selfhosted_00000000000000000000000000000000', 'ключ', 'a b']) {
    await field.fill(wrong);
    await field.press('Enter');
    await page.locator('#key[aria-invalid=true]').waitFor();
    await page.locator('#open:enabled').waitFor();
    assert.match(await page.locator('#key-error').textContent(), /not known|letters/);
    assert.equal(await field.evaluate((element) => document.activeElement === element), true);
    assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  }
  await field.fill(`  ${key} `);
  await field.press('Enter');
  await page.getByRole('heading', { name: 'Before you download' }).waitFor();
  assert.equal(await field.inputValue(), '');
  assert.match(await page.getByLabel('Website').textContent(), /Page of tests \(site_page\)/);
  // The browser's zone is the default, the website's is beside it.
  assert.equal(await page.getByLabel('Time zone of the days').inputValue(), 'Europe/Lisbon');
  assert.equal(await page.locator('#timezone option[value="Europe/Berlin"]').first().textContent(), "Europe/Berlin (the website's)");
  // The key is in this tab, nowhere else, and in no URL.
  assert.equal(await page.evaluate(() => localStorage.length + document.cookie.length), 0);
  for (const request of asked) assert.ok(!request.url().includes(key.slice(-16)));
  await page.reload();
  await page.getByRole('heading', { name: 'Before you download' }).waitFor();
  const other = await context.newPage();
  await other.goto(service.href);
  await other.getByLabel('Key').waitFor();
  await page.getByRole('button', { name: 'Forget the key' }).click();
  await field.waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  // A key that is good no more leads back to its field.
  await open(page);
  await estimated(page);
  await page.evaluate(() => sessionStorage.setItem('rowspout-key', 'spk_selfhosted_revoked'));
  await page.getByLabel('Include events of bots').check();
  await field.waitFor();
  assert.match(await page.locator('#key-error').textContent(), /not known, was revoked or has expired/);
}));

test('what was chosen is what is estimated, downloaded and checked', () => withPage({}, async (page, { asked }) => {
  await open(page);
  await chooseQuarter(page);
  await page.getByLabel('Time zone of the days').selectOption('UTC');
  for (const [format, extension, query] of [['CSV', 'csv', ''], ['Parquet', 'parquet', ''], ['JSON', 'json', '&event_data=string']]) {
    await page.locator(`#formats input[value=${extension}]`).check();
    if (query) await page.getByLabel('Event data as text').check();
    const rows = await estimated(page);
    const plan = await planOf(`${QUARTER}&format=${extension}`);
    assert.ok(rows > 100_000);
    assert.equal(rows, plan.rows);
    const file = await download(page, `Download ${format}`);
    assert.equal(file.name, `events_${site}_2026-01-01_2026-03-31.${extension}`);
    assert.ok(file.bytes.equals(await exportOf(`${QUARTER}&format=${extension}${query}`)));
    assert.equal(await page.locator('#sha256').textContent(), sha256(file.bytes));
    const said = await page.locator('#result').textContent();
    assert.ok(said.includes(rows.toLocaleString('en-US')) && said.includes(file.bytes.length.toLocaleString('en-US')), said);
    // The URL that the browser keeps opens nothing any more.
    assert.equal((await fetch(file.url)).status, 401);
  }
  // The browser fetched the files, and the page never did.
  const fetched = asked.filter((request) => request.url().includes('/export?'));
  assert.equal(fetched.length, 3);
  for (const request of fetched) {
    assert.equal(request.isNavigationRequest(), true);
    assert.equal((await request.allHeaders()).authorization, undefined);
    assert.equal((await request.allHeaders()).referer, undefined);
  }
}));

test('the chart and the table say the days of the plan', () => withPage({}, async (page) => {
  await open(page);
  await page.getByLabel('First day').fill('2026-03-01');
  await page.getByLabel('Last day').fill('2026-03-10');
  await estimated(page);
  const { days } = await planOf('start_date=2026-03-01&end_date=2026-03-10&timezone=Europe/Lisbon');
  assert.equal(await page.locator('#chart .bar').count(), days.length);
  const label = await page.getByRole('img').getAttribute('aria-label');
  const most = Math.max(...days.map((day) => day.rows));
  assert.ok(label.includes(most.toLocaleString('en-US')), label);
  await page.getByText('Events a day as a table').click();
  const counts = await page.locator('#days-table td:nth-child(2)').allTextContents();
  assert.deepEqual(counts, days.map((day) => day.rows.toLocaleString('en-US')));
}));

test('presets are days of the chosen zone', () => withPage({ timezoneId: 'Pacific/Kiritimati' }, async (page) => {
  await page.clock.setFixedTime(new Date('2026-03-31T12:00:00Z'));
  await open(page);
  const days = async () => [await page.getByLabel('First day').inputValue(), await page.getByLabel('Last day').inputValue()];
  for (const [zone, preset, first, last] of [
    ['Pacific/Kiritimati', 'Today', '2026-04-01', '2026-04-01'],
    ['UTC', 'Today', '2026-03-31', '2026-03-31'],
    ['UTC', 'Yesterday', '2026-03-30', '2026-03-30'],
    ['UTC', 'Last 7 days', '2026-03-25', '2026-03-31'],
    ['UTC', 'Last 90 days', '2026-01-01', '2026-03-31'],
    ['UTC', 'This month', '2026-03-01', '2026-03-31'],
    ['UTC', 'Last month', '2026-02-01', '2026-02-28'],
    ['Pacific/Kiritimati', 'Last month', '2026-03-01', '2026-03-31'],
  ]) {
    await page.getByLabel('Time zone of the days').selectOption(zone);
    await page.getByRole('radio', { name: preset }).check();
    assert.deepEqual(await days(), [first, last], `${zone} ${preset}`);
  }
  await page.getByLabel('First day').fill('2026-01-05');
  assert.equal(await page.getByRole('radio', { name: 'Other days' }).isChecked(), true);
}));

test('filters, columns and types are those of the API, and the curl line gives the same file', () => withPage({}, async (page) => {
  await open(page);
  await chooseQuarter(page);
  await page.getByLabel('Time zone of the days').selectOption('UTC');
  const filter = async (column, way, value) => {
    await page.getByRole('button', { name: 'Add a filter' }).click();
    const group = page.getByRole('group', { name: /^Filter/ }).last();
    await group.getByLabel('Column').selectOption({ label: column });
    await group.getByLabel('Comparison').selectOption({ label: way });
    if (value !== null) await group.getByLabel('Value', { exact: true }).fill(value);
    return group;
  };
  await filter('Country', 'is', 'DE');
  await filter('Country', 'is', 'FR');
  await filter('URL', 'begins with', '/');
  await filter('URL', 'is not', '/a*');
  // It is no shell's business what a value holds.
  await filter('City', 'is not', `O'Brien "$(exit 1)" \`x\` \\ !`);
  await filter('Event name', 'is empty', null);
  await page.getByRole('radio', { name: 'Page views' }).check();
  await page.getByLabel('Include events of bots').check();
  await page.getByText('Columns:').click();
  await page.getByRole('button', { name: 'None' }).click();
  for (const column of ['url', 'country', 'timestamp']) await page.getByRole('checkbox', { name: column, exact: true }).check();
  const rows = await estimated(page);
  const query = new URLSearchParams(`${QUARTER}&event_type=pageview&include_bots=true&fields=timestamp,url,country`);
  for (const [name, value] of [
    ['country', 'DE'], ['country', 'FR'], ['url', '/*'], ['url', '!/a\\*'], ['city', `!O'Brien "$(exit 1)" \`x\` \\\\ !`], ['event_name', ''],
  ]) query.append(name, value);
  assert.equal(rows, (await planOf(query)).rows);
  assert.ok(rows > 0);
  const file = await download(page, 'Download CSV');
  const expected = await exportOf(query);
  assert.ok(file.bytes.equals(expected));
  const line = await page.locator('#curl').textContent();
  assert.ok(!line.includes(key.slice(-16)) && line.includes('--fail --remove-on-error'));
  const folder = await mkdtemp(join(tmpdir(), 'rowspout-curl-'));
  try {
    await run('bash', ['-c', `set -eu\n${line}`], { cwd: folder, env: { ...process.env, ROWSPOUT_KEY: key } });
    const [saved, ...others] = await readdir(folder);
    assert.deepEqual([saved, others], [file.name, []]);
    assert.ok((await readFile(join(folder, saved))).equals(expected));
  } finally {
    await rm(folder, { recursive: true });
  }
}));

test('errors are said at their fields, with the focus on them', () => withPage({}, async (page) => {
  await open(page);
  const focused = () => page.evaluate(() => document.activeElement.id);
  const press = () => page.getByRole('button', { name: /^Download/ }).click();
  await page.getByLabel('First day').fill('2026-01-01');
  await page.getByLabel('Last day').fill('2026-12-31');
  await estimated(page);
  await press();
  await page.locator('#days [aria-invalid=true]').first().waitFor();
  assert.match(await page.locator('#days .error:visible').textContent(), /more than the 90 of one export/);
  assert.match(await focused(), /_date$/);
  await page.getByLabel('Last day').fill('2025-12-31');
  await page.locator('#days .error:visible').waitFor();
  await page.getByLabel('Last day').fill('2026-01-31');
  await estimated(page);
  assert.equal(await page.locator('#choices .error:visible').count(), 0);
  await page.getByText('Columns:').click();
  await page.getByRole('button', { name: 'None' }).click();
  await page.getByText('Columns:').click();
  await estimated(page);
  await press();
  assert.match(await page.locator('#error-fields').textContent(), /Choose at least one column/);
  assert.equal(await page.evaluate(() => document.activeElement.name), 'field');
  await page.getByRole('button', { name: 'All', exact: true }).click();
  await page.getByRole('button', { name: 'Add a filter' }).click();
  await estimated(page);
  await press();
  assert.match(await page.locator('#filters .error').textContent(), /Enter what to filter by/);
  assert.equal(await page.evaluate(() => document.activeElement.className), 'value');
  // Words of the service are words, whatever they hold.
  const value = '<img src=x onerror=document.title=1>'.padEnd(5_000, 'x');
  await page.getByLabel('Value', { exact: true }).fill(value);
  await press();
  await page.locator('#filters .error:visible').waitFor();
  assert.equal(await page.locator('#workspace img').count(), 0);
}));

test('a key of some formats offers these', () => withPage({}, async (page) => {
  await open(page, { withKey: csvKey });
  assert.equal(await page.locator('#formats input:enabled').count(), 1);
  assert.equal(await page.getByRole('radio', { name: /Parquet/ }).isEnabled(), false);
  await chooseQuarter(page);
  const file = await download(page, 'Download CSV');
  assert.ok(file.bytes.equals(await exportOf(`${QUARTER}&timezone=Europe/Lisbon`)));
}));

test('an answer that is no file is said in words, and the page stays', () => withPage({}, async (page) => {
  await open(page);
  await chooseQuarter(page);
  await page.route('**/export?*ticket=*', (route) => route.continue({ url: route.request().url().replace('format=csv', 'format=json') }));
  const button = page.getByRole('button', { name: 'Download CSV' });
  await button.click();
  await page.locator('#general-error:visible').waitFor();
  assert.match(await page.locator('#general-error').textContent(), /^The ticket is not of this service/);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'general-error');
  assert.equal(await page.locator('#progress').isVisible(), false);
  // The way is free for another one.
  await page.unroute('**/export?*ticket=*');
  await download(page, 'Download CSV');
  assert.equal(await page.locator('#general-error').isVisible(), false);
}));

test('a download that is cancelled ends, is called what it is, and another one can begin', async () => {
  const held = await heldService(4_000_000);
  try {
    await withPage({}, async (page) => {
      await open(page, { at: held.url });
      await chooseQuarter(page);
      // The whole of it is more than the sockets on the way hold.
      await page.locator('#formats input[value=json]').check();
      await estimated(page);
      const [saved] = await Promise.all([
        page.waitForEvent('download'),
        page.getByRole('button', { name: 'Download JSON' }).click(),
      ]);
      await page.waitForFunction(() => document.querySelector('#done-rows').textContent.includes(' of '));
      await page.getByRole('button', { name: 'Cancel the download' }).click();
      await page.locator('#progress[data-state=aborted]').waitFor();
      assert.equal(await page.locator('#progress-title').textContent(), 'Cancelled');
      assert.match(await page.locator('#result').textContent(), /cancelled.*not the whole file: delete it/);
      assert.equal(await page.locator('#checksum').isVisible(), false);
      const id = await page.evaluate(() => performance.getEntriesByType('resource').map((entry) => entry.name).findLast((name) => name.includes('/api/exports/')));
      const receipt = await (await ask(new URL(id).pathname)).json();
      assert.deepEqual([receipt.status, receipt.reason, receipt.sha256], ['aborted', 'cancelled', null]);
      held.letGo();
      // The browser itself does not take the part for the whole.
      assert.notEqual(await saved.failure(), null);
      const file = await download(page, 'Download JSON');
      assert.equal(await page.locator('#sha256').textContent(), sha256(file.bytes));
    });
  } finally {
    held.close();
  }
});
