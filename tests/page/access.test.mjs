// Who has no mouse, no eyesight, little room or little light.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { chooseQuarter, estimated, key, open, service, sha256, withPage } from './support.mjs';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Fails where axe finds anything in what is shown now. */
async function check(page, state) {
  // A policy that lets nothing else run does not concern who drives the browser.
  await page.evaluate(axe);
  const options = { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] };
  const { violations } = await page.evaluate((given) => axe.run(document, given), options);
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.target} ${node.failureSummary}`).join('; ')}`);
  assert.deepEqual(found, [], state);
}

const VIEWS = {
  light: {},
  dark: { colorScheme: 'dark' },
  'a phone': { viewport: { width: 320, height: 640 }, hasTouch: true, isMobile: true },
  'a dark phone with reduced motion': { viewport: { width: 320, height: 640 }, colorScheme: 'dark', reducedMotion: 'reduce' },
};

for (const [view, options] of Object.entries(VIEWS)) {
  test(`every state passes axe and fits: ${view}`, () => withPage(options, async (page) => {
    const fits = async (state) => {
      await check(page, `${view}, ${state}`);
      const [content, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      assert.ok(content <= room, `${view}, ${state}: ${content} > ${room}`);
    };
    await page.goto(service.href);
    await page.getByLabel('Key').waitFor();
    await fits('the key');
    await page.getByRole('button', { name: 'Continue' }).click();
    await fits('a missing key');
    await open(page);
    await chooseQuarter(page);
    await fits('an estimate');
    await page.getByText('Columns:').click();
    await page.getByText('Events a day as a table').click();
    for (const column of ['Country', 'URL', 'Event data']) {
      await page.getByRole('button', { name: 'Add a filter' }).click();
      await page.getByLabel('Column', { exact: true }).last().selectOption({ label: column });
    }
    await page.getByRole('button', { name: /^Download/ }).click();
    await page.locator('#filters .error:visible').first().waitFor();
    await fits('filters that lack something');
    while ((await page.getByRole('button', { name: 'Remove this filter' }).count()) > 0) {
      await page.getByRole('button', { name: 'Remove this filter' }).first().click();
    }
    for (const format of ['parquet', 'ndjson']) {
      await page.locator(`#formats input[value=${format}]`).check();
      await estimated(page);
      await fits(format);
    }
    await page.getByRole('button', { name: /^Download/ }).click();
    await page.locator('#progress[data-state=complete]').waitFor();
    await fits('a finished download');
    const dark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = dark.match(/\d+/g).every((part) => Number(part) > 127);
    assert.equal(light, options.colorScheme !== 'dark');
  }));
}

test('everything can be done with the keyboard alone', () => withPage({}, async (page) => {
  await page.goto(service.href);
  await page.getByLabel('Key').waitFor();
  const press = (name) => page.keyboard.press(name);
  const at = () => page.evaluate(() => {
    const element = document.activeElement;
    return element.id || element.name || element.className || element.tagName;
  });
  const tabTo = async (id) => {
    for (let presses = 0; presses < 60; presses += 1) {
      if ((await at()) === id) return;
      await press('Tab');
    }
    assert.fail(`Tab never comes to ${id}`);
  };
  await tabTo('key');
  await page.keyboard.type(key);
  await press('Enter');
  await page.getByRole('heading', { name: 'Before you download' }).waitFor();
  await page.waitForFunction(() => document.activeElement.id === 'website');
  await tabTo('preset');
  await press('ArrowRight');
  assert.equal(await page.getByRole('radio', { name: 'Last 90 days' }).isChecked(), true);
  await tabTo('start_date');
  await page.keyboard.type('01012026');
  await tabTo('end_date');
  await page.keyboard.type('01312026');
  assert.deepEqual([await page.locator('#start_date').inputValue(), await page.locator('#end_date').inputValue()], ['2026-01-01', '2026-01-31']);
  await tabTo('format');
  await press('ArrowDown');
  await press('ArrowDown');
  assert.equal(await page.getByRole('radio', { name: /NDJSON/ }).isChecked(), true);
  await tabTo('include_bots');
  await press('Space');
  await tabTo('add-filter');
  await press('Enter');
  assert.equal(await at(), 'column');
  await press('Tab');
  await press('Tab');
  assert.equal(await at(), 'value');
  await page.keyboard.type('/nowhere');
  await press('Tab');
  await press('Enter');
  assert.equal(await at(), 'add-filter');
  const rows = await estimated(page);
  assert.ok(rows > 0);
  assert.match(await page.locator('#live').textContent(), /events, about .* as NDJSON/);
  await tabTo('download');
  const [saved] = await Promise.all([page.waitForEvent('download'), press('Enter')]);
  await page.locator('#progress[data-state=complete]').waitFor();
  const bytes = await readFile(await saved.path());
  assert.equal(await page.locator('#sha256').textContent(), sha256(bytes));
  assert.equal(bytes.toString().split('\n').length - 1, rows);
  // Who hears the page hears the end, and the focus is not lost.
  assert.match(await page.locator('#live').textContent(), /^Complete\. The file has all/);
  assert.equal(await at(), 'progress');
}));
