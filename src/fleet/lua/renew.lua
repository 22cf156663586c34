#!lua flags=allow-oom
-- Prolongs a lease that is still ours; "0" ms gives it back.
-- KEYS: lease. ARGV: token, ms.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  return redis.call('DEL', KEYS[1])
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
