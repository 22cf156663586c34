#!lua flags=allow-oom
-- A node says that it lives, and how far it is. Where there is no log, one is begun.
-- KEYS: log, meta, nodes, positions. ARGV: lease in ms, node (empty: only looks), its position, era for a new log, floor
-- (two numbers), era that is given up (empty: none).
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local lease = tonumber(ARGV[1])
-- What somebody else has put under our names is none of ours.
for index, kind in ipairs({'stream', 'hash', 'zset', 'hash'}) do
  local found = redis.call('TYPE', KEYS[index]).ok
  if found ~= kind and found ~= 'none' then
    redis.call('DEL', KEYS[index])
  end
end
local function fits(word, pattern)
  return word and string.match(word, pattern)
end
local meta = redis.call('HMGET', KEYS[2], 'era', 'base', 'last', 'tail')
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local last = newest[1] and newest[1][1] or meta[2]
-- A log whose end is not where it is said to be has lost entries: they were evicted, or deleted.
local is_sound = fits(meta[1], '^%d+$') and fits(meta[2], '^%d+%-%d+$') and fits(meta[4], '^%d+$') and last == meta[3]
if not is_sound or meta[1] == ARGV[7] then
  local millis = math.max(now, tonumber(ARGV[5]) + 1)
  -- Behind all that there was; but not behind what no clock of ours has said.
  local before = tonumber(fits(meta[3], '^(%d+)%-%d+$') or 0)
  if before < now + 86400000 then
    millis = math.max(millis, before + 1)
  end
  local base = string.format('%.0f-0', millis)
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[2], 'era', ARGV[4], 'base', base, 'last', base, 'tail', '0')
  meta = {ARGV[4], base, base, '0'}
end
if ARGV[2] ~= '' then
  -- A position says what a node has only where this log has that entry: one that lost its end may have gone on behind it.
  local era, position = string.match(ARGV[3], '^(%d+) (.+)$')
  local is_held = era ~= meta[1] or position == meta[2]
    or #redis.call('XRANGE', KEYS[1], position, position, 'COUNT', 1) > 0
  redis.call('ZADD', KEYS[3], now, ARGV[2])
  redis.call('HSET', KEYS[4], ARGV[2], is_held and ARGV[3] or era .. ' 0-0')
  -- Those who are long gone are forgotten; until then their positions may still be read.
  local gone = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now - 10 * lease, 'LIMIT', 0, 100)
  for _, node in ipairs(gone) do
    redis.call('ZREM', KEYS[3], node)
    redis.call('HDEL', KEYS[4], node)
  end
end
local answer = {meta[1], meta[2], meta[3], meta[4]}
local living = redis.call('ZRANGEBYSCORE', KEYS[3], now - lease, '+inf', 'LIMIT', 0, 1000)
if #living > 0 then
  local positions = redis.call('HMGET', KEYS[4], unpack(living))
  for index, node in ipairs(living) do
    answer[#answer + 1] = node
    answer[#answer + 1] = positions[index] or ''
  end
end
return answer
