// Does the built binary do what the public HTTP cache tests ask of a shared cache?
//
//   node run.mjs [path/to/larder] [--only case-id]
//
// Starts the suite's own origin, the binary before it, and the suite's own client; prints the figures; fails on every
// required or optional case that does not pass and is not declined, and on every declined case that passes.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const suite = join(here, 'node_modules', 'http-cache-tests')

/** Longer than the suite takes (its pauses add up to about a minute); a client that takes longer has hung. */
const DEADLINE_MS = 10 * 60 * 1000

/** Longer than anything takes to listen. */
const START_MS = 30 * 1000

function fail (message) {
  console.error(message)
  process.exitCode = 1
}

/** Reads a stream by lines; `wanted` looks for one and keeps all for the error. */
function linesOf (stream) {
  const seen = []
  const reader = createInterface({ input: stream })
  const waiting = []
  let closed = false
  const settle = () => {
    for (const waiter of [...waiting]) {
      const found = seen.find(line => waiter.pattern.test(line))
      if (found === undefined && !closed) continue
      waiting.splice(waiting.indexOf(waiter), 1)
      if (found === undefined) waiter.reject(new Error(`ended without ${waiter.pattern}:\n${seen.join('\n')}`))
      else waiter.resolve(waiter.pattern.exec(found))
    }
  }
  reader.on('line', line => { seen.push(line); settle() })
  reader.on('close', () => { closed = true; settle() })
  return {
    seen,
    wanted: pattern => new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no ${pattern} in time:\n${seen.join('\n')}`)), START_MS)
      waiting.push({
        pattern,
        resolve: match => { clearTimeout(late); resolve(match) },
        reject: error => { clearTimeout(late); reject(error) }
      })
      settle()
    })
  }
}

const started = []

/** Starts a process that is stopped, by its id, when we end. */
function start (command, args, options) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  child.on('error', error => fail(`${command}: ${error.message}`))
  started.push(child)
  return child
}

async function stopAll () {
  for (const child of started.reverse()) {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) continue
    const ended = once(child, 'exit')
    child.kill('SIGTERM')
    const late = setTimeout(() => child.kill('SIGKILL'), 5000)
    await ended
    clearTimeout(late)
  }
}

/** The suite's origin, on a port of the system's choice; the suite reads its settings from npm's variables. */
async function startOrigin (folder) {
  const env = {
    ...process.env,
    npm_config_protocol: 'http',
    npm_config_port: '0',
    npm_config_pidfile: join(folder, 'origin.pid')
  }
  const child = start(process.execPath, ['--no-warnings', join(suite, 'server', 'server.mjs')], { cwd: suite, env })
  child.stderr.resume()
  const [, port] = await linesOf(child.stdout).wanted(/^Listening on http:\/\/.*:(\d+)\/$/)
  return `http://127.0.0.1:${port}`
}

async function startLarder (binary, origin, folder) {
  const file = join(folder, 'proxy.toml')
  // The suite wants Set-Cookie stored as the RFCs have it; our default is the safer one.
  writeFileSync(file, `
[server]
listen = ["127.0.0.1:0"]
[admin]
listen = "127.0.0.1:0"
[telemetry]
access_log = "off"
[[origins]]
name = "suite"
urls = ["${origin}"]
[[rules]]
override = ["set-cookie"]
`)
  const child = start(binary, ['serve', '--config', file], { env: { ...process.env, NO_COLOR: '1' } })
  child.stdout.resume()
  const [, address] = await linesOf(child.stderr).wanted(/(?<!admin )listening on (http:\/\/[0-9.]+:\d+)/)
  return address
}

/** Runs the suite's client; resolves to its results: case id -> true, or [kind of failure, message]. */
async function runClient (base, only) {
  const env = { ...process.env, npm_config_base: base, npm_config_id: '', npm_package_config_id: only }
  const child = start(process.execPath, ['--no-warnings', join(suite, 'cli.mjs')], { cwd: suite, env })
  const late = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS)
  let output = ''
  child.stdout.setEncoding('utf8').on('data', text => { output += text })
  child.stderr.setEncoding('utf8').on('data', text => { output += text })
  const [code] = await once(child, 'close')
  clearTimeout(late)
  if (only !== '') {
    console.log(output)
    return null
  }
  const begin = output.lastIndexOf('\n{\n') + 1
  try {
    return JSON.parse(output.slice(begin, output.lastIndexOf('}') + 1))
  } catch (error) {
    throw new Error(`the suite's client ended (${code}) without results:\n${output.slice(-4000)}`)
  }
}

async function allCases () {
  const suites = (await import(join(suite, 'tests', 'index.mjs'))).default
  const surrogate = (await import(join(suite, 'tests', 'surrogate-control.mjs'))).default
  // Cases for browsers are not run by the client.
  return [...suites, surrogate].flatMap(group => group.tests.filter(test => test.browser_only !== true))
}

/**
 * What became of a case, in the words of the suite's own display: `passed`, `failed`, or why it says nothing:
 * `untested`, `setup` (what must hold before the case begins did not), `retry` (the origin saw a request twice),
 * `dependency` (a case that this one rests on did not pass).
 */
function judge (test, results, byId) {
  const result = results[test.id]
  if (result === undefined) return 'untested'
  for (const id of test.depends_on ?? []) {
    if (judge(byId.get(id), results, byId) !== 'passed') return 'dependency'
  }
  if (result === true) return 'passed'
  if (result[0] === 'Setup') return result[1] === 'retry' ? 'retry' : 'setup'
  return 'failed'
}

function report (cases, results, declined) {
  const byId = new Map(cases.map(test => [test.id, test]))
  const figures = { required: [0, 0], optimal: [0, 0], check: [0, 0] }
  const wrong = []
  for (const test of cases) {
    const kind = test.kind ?? 'required'
    const outcome = judge(test, results, byId)
    figures[kind][1] += 1
    if (outcome === 'passed') figures[kind][0] += 1
    if (kind === 'check') continue
    const why = declined[test.id]
    if (outcome !== 'passed' && why === undefined) {
      const said = Array.isArray(results[test.id]) ? results[test.id].join(': ') : ''
      wrong.push(`${kind} ${test.id}: ${outcome}: ${said}\n    ${test.name}`)
    }
    if (outcome === 'passed' && why !== undefined) wrong.push(`${test.id} passes, and is declined`)
  }
  for (const id of Object.keys(declined)) {
    if (!byId.has(id)) wrong.push(`${id} is declined, and there is no such case`)
    if (!/^RFC \d+ §[0-9.]+/.test(declined[id])) {
      wrong.push(`${id} is declined without a clause (RFC n §m: why)`)
    }
  }
  console.log(`required: ${figures.required.join(' of ')} pass`)
  console.log(`optional: ${figures.optimal.join(' of ')} pass`)
  console.log(`checks:   ${figures.check.join(' of ')} say yes`)
  console.log(`declined: ${Object.keys(declined).length}`)
  return wrong
}

async function main () {
  const args = process.argv.slice(2)
  const at = args.indexOf('--only')
  const only = at >= 0 ? args.splice(at, 2)[1] : ''
  const binary = resolve(args[0] ?? join(here, '..', '..', 'target', 'debug', 'larder'))
  if (!existsSync(join(suite, 'cli.mjs'))) return fail('the suite is not installed: npm ci --prefix tests/conformance')
  if (!existsSync(binary)) return fail(`no ${binary}: cargo build`)
  const declined = JSON.parse(readFileSync(join(here, 'declined.json'), 'utf8'))
  const folder = mkdtempSync(join(tmpdir(), 'larder-conformance-'))
  try {
    const origin = await startOrigin(folder)
    const base = await startLarder(binary, origin, folder)
    const results = await runClient(base, only)
    if (results === null) return
    mkdirSync(join(here, 'results'), { recursive: true })
    writeFileSync(join(here, 'results', 'larder.json'), JSON.stringify(results, null, 2) + '\n')
    const wrong = report(await allCases(), results, declined)
    if (wrong.length > 0) fail(`\n${wrong.length} not as they should be:\n  ${wrong.join('\n  ')}`)
  } finally {
    await stopAll()
    rmSync(folder, { recursive: true, force: true })
  }
}

await main().catch(error => fail(error.stack))
