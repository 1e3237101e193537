"""
What the store asks of Redis, as Lua scripts: each is done as a whole or not at all.

Every script gets the same first keys and arguments (`Layout.shared`, `PRELUDE`); those of one host
follow (`Layout.of_host`). All keys have one hash tag, so a cluster has them on one node. Times are
milliseconds of the server's own clock: the clocks of gateways may differ.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

VERSION: Final = 1
"""The version of the keys that this olgate writes."""

JUMP: Final = 1_000_000
"""By how much the change counter jumps when lost names are written again, so that no gateway takes
an old count for the new one."""


class Layout(NamedTuple):
    """The names of the keys that one prefix has."""

    prefix: str

    def key(self, *parts: str) -> str:
        """Return one key; the braces make it a key of the same slot as all others."""
        return ":".join((f"{{{self.prefix}}}", *parts))

    @property
    def news(self) -> str:
        """The channel on which gateways tell each other of changes."""
        return self.key("news")

    @property
    def shared(self) -> list[str]:
        """The keys that every script gets, in the order of `PRELUDE`."""
        names = ("schema", "alive", "fence", "fences", "changes", "hold", "run", "alias", "pulled")
        last = ("requests", "alias_change", "pulled_change", "restored")
        return [*(self.key(name) for name in (*names, *last)), self.news]

    def of_host(self, host: str) -> list[str]:
        """The keys of one host: owners, documents, uses, first sightings."""
        return [self.key(name, host) for name in ("owner", "document", "usage", "seen")]


class Script(NamedTuple):
    """A script and the SHA-1 digest under which the server knows it."""

    text: str
    digest: str


PRELUDE: Final = """
local schema, alive, fence, fences, changes, hold, run, alias, pulled, requests,
  alias_change, pulled_change, restored, news, owner, document, usage, seen = unpack(KEYS)
local me, lease, knows = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function lives(gateway)
  local till = redis.call('ZSCORE', alive, gateway)
  return till and tonumber(till) >= now
end

-- A server that is another one than before may have lost what was written last. Gateways that know
-- it get half a lease to write it again; until then no name is changed and no load is claimed.
local function look_at_server()
  local found = redis.pcall('INFO', 'server')
  if type(found) ~= 'string' then return end
  local id = found:match('run_id:(%w+)')
  if not id or redis.call('GET', run) == id then return end
  if knows or redis.call('ZCOUNT', alive, now, '+inf') > 0 then
    redis.call('SET', hold, '1', 'PX', math.floor(lease / 2))
  end
  redis.call('SET', run, id)
  redis.call('SETNX', schema, '%d')
end

local function held()
  return math.max(0, redis.call('PTTL', hold))
end

local function tell(what)
  redis.call('PUBLISH', news, what)
end

local function changed()
  local count = redis.call('INCR', changes)
  tell('names ' .. count)
  return count
end

-- The number of aliases stands at `first`; then come all names and documents.
local function put_all(first, keeps)
  local aliases, count = tonumber(ARGV[first]), changed()
  for at = first + 1, #ARGV, 2 do
    local names, numbers = alias, alias_change
    if (at - first - 1) / 2 >= aliases then names, numbers = pulled, pulled_change end
    if not keeps or redis.call('HEXISTS', names, ARGV[at]) == 0 then
      redis.call('HSET', names, ARGV[at], ARGV[at + 1])
      redis.call('HSET', numbers, ARGV[at], count)
    end
  end
  return count
end
""".replace("%d'", f"{VERSION}'")


def _script(body: str) -> Script:
    text = PRELUDE + body
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


RENEW: Final = _script("""
-- fence of the last time, '' at first -> schema, fence, whether it lapsed, changes, others, and the
-- count from which the names were restored a moment ago, and the first count after that
look_at_server()
redis.call('SETNX', schema, ARGV[5])
local version = redis.call('GET', schema)
if tonumber(version) > tonumber(ARGV[5]) then return {version} end
local mine, till = redis.call('HGET', fence, me), redis.call('ZSCORE', alive, me)
local lapsed = 0
if ARGV[4] ~= '' and (mine ~= ARGV[4] or not till or tonumber(till) < now) then lapsed = 1 end
if not mine or mine ~= ARGV[4] then
  mine = tostring(redis.call('INCR', fences))
  redis.call('HSET', fence, me, mine)
end
redis.call('ZADD', alive, now + lease, me)
if ARGV[4] == '' then tell('joined ' .. me) end
local others = {}
for _, gateway in ipairs(redis.call('ZRANGEBYSCORE', alive, now, '+inf')) do
  if gateway ~= me then others[#others + 1] = gateway end
end
return {version, mine, lapsed, tonumber(redis.call('GET', changes) or '0'), others,
  tonumber(redis.call('HGET', restored, 'base') or '-1'),
  tonumber(redis.call('HGET', restored, 'floor') or '-1')}
""")
"""Renew a lease, or take one."""

WITHDRAW: Final = _script("""
redis.call('ZREM', alive, me)
redis.call('HDEL', fence, me)
redis.call('HDEL', requests, me)
tell('left ' .. me)
return 1
""")
"""End a lease."""

NAMES: Final = _script("""
-- the count that the gateway has -> the count, and if it is another one, for the aliases and for
-- the pulled names each: all names with the counts of their changes, and the documents that are new
local count, known = tonumber(redis.call('GET', changes) or '0'), tonumber(ARGV[4])
if count == known then return {count} end
if known > count then known = -1 end
local function since(names, numbers)
  local all, new = redis.call('HGETALL', numbers), {}
  for at = 1, #all, 2 do
    if tonumber(all[at + 1]) > known then
      new[#new + 1] = all[at]
      new[#new + 1] = redis.call('HGET', names, all[at]) or ''
    end
  end
  return all, new
end
local aliases, new_aliases = since(alias, alias_change)
local names, new_names = since(pulled, pulled_change)
return {count, aliases, new_aliases, names, new_names}
""")
"""Read which names there are, and the documents of those that have changed."""

CHANGE_NAME: Final = _script("""
-- 'alias' or 'pulled', the name, its document ('' deletes it) -> the count
look_at_server()
local left = held()
if left > 0 then return redis.error_reply('HELD ' .. left) end
local names, numbers = alias, alias_change
if ARGV[4] == 'pulled' then names, numbers = pulled, pulled_change end
local count = changed()
if ARGV[6] == '' then
  redis.call('HDEL', names, ARGV[5])
  redis.call('HDEL', numbers, ARGV[5])
else
  redis.call('HSET', names, ARGV[5], ARGV[6])
  redis.call('HSET', numbers, ARGV[5], count)
end
return count
""")
"""Write or delete one name."""

RESTORE: Final = _script(f"""
-- the count that the gateway has, the number of aliases, then names and documents -> whether done
local mine, count = tonumber(ARGV[4]), tonumber(redis.call('GET', changes) or '0')
local base = tonumber(redis.call('HGET', restored, 'base') or '-1')
if base >= 0 then
  -- Counts from the floor on are of after the loss.
  if mine <= base or mine >= tonumber(redis.call('HGET', restored, 'floor')) then return 0 end
elseif count >= mine then return 0 end
redis.call('DEL', alias, pulled, alias_change, pulled_change)
redis.call('SET', changes, string.format('%.0f', math.max(mine, count) + {JUMP}))
local new = put_all(5, false)
redis.call('HSET', restored, 'base', mine)
redis.call('HSETNX', restored, 'floor', new)
redis.call('PEXPIRE', restored, lease)
return 1
""")
"""Write all names again that the server has lost, unless another gateway knew more of them."""

REPLACE: Final = _script("""
-- whether names that are there stay, the number of aliases, then names and documents -> the count
look_at_server()
local left = held()
if left > 0 then return redis.error_reply('HELD ' .. left) end
local keeps = ARGV[4] == '1'
if not keeps then redis.call('DEL', alias, pulled, alias_change, pulled_change) end
return put_all(5, keeps)
""")
"""Write the names of a backup or of another store."""

NOTE_SEEN: Final = _script("""
-- keys and times -> all keys and times of the host
for at = 4, #ARGV, 2 do redis.call('HSETNX', seen, ARGV[at], ARGV[at + 1]) end
return redis.call('HGETALL', seen)
""")
"""Keep the times of models that have none."""

UPDATE: Final = _script("""
-- the fence of the oldest open claim, then identifier, what, document -> those that stay another's
local is_current = redis.call('HGET', fence, me) == ARGV[4]
local foreign = {}
for at = 5, #ARGV, 3 do
  local id, what = ARGV[at], ARGV[at + 1]
  local holder = redis.call('HGET', owner, id)
  if what == 'gone' then
    if holder == me then
      redis.call('HDEL', owner, id)
      redis.call('HDEL', document, id)
      tell('ended ' .. me .. ' ' .. owner .. ' ' .. id)
    end
  else
    if what == 'loaded' and is_current and holder and holder ~= me then
      if lives(holder) then tell('instances') end
      holder = false
    end
    if not holder or holder == me then
      redis.call('HSET', owner, id, me)
      redis.call('HSET', document, id, ARGV[at + 2])
    else
      foreign[#foreign + 1] = id
    end
  end
end
return foreign
""")
"""Write own instances."""

CLAIM_LOAD: Final = _script("""
-- identifier, document -> the fence, 'other' if another gateway has it, '' if it must wait
look_at_server()
local holder = redis.call('HGET', owner, ARGV[4])
if holder and holder ~= me then return 'other' end
if not holder and held() > 0 then return '' end
local mine = redis.call('HGET', fence, me)
if not mine or not lives(me) then return '' end
redis.call('HSET', owner, ARGV[4], me)
redis.call('HSET', document, ARGV[4], ARGV[5])
tell('claimed ' .. me .. ' ' .. owner .. ' ' .. ARGV[4])
return mine
""")
"""Write that a load starts. A gateway without a lease can't: others would take it for dead."""

TAKE_OVER: Final = _script("""
-- identifiers that the gateway knows as its own -> documents that it does not
local known, dead, taken = {}, {}, {}
for at = 4, #ARGV do known[ARGV[at]] = true end
local found = redis.call('HGETALL', owner)
for at = 1, #found, 2 do
  local id, holder = found[at], found[at + 1]
  if holder ~= me and not lives(holder) then
    dead[holder] = true
    redis.call('HSET', owner, id, me)
    holder = me
  end
  if holder == me and not known[id] then
    taken[#taken + 1] = redis.call('HGET', document, id) or ''
  end
end
local uses = redis.call('HKEYS', usage)
for _, field in ipairs(uses) do
  local gateway = field:match('^[^|]*')
  if gateway ~= me and not lives(gateway) then
    dead[gateway] = true
    redis.call('HDEL', usage, field)
  end
end
for gateway, _ in pairs(dead) do
  redis.call('ZREM', alive, gateway)
  redis.call('HDEL', fence, gateway)
  redis.call('HDEL', requests, gateway)
end
return taken
""")
"""
Take over what dead gateways left. What an earlier answer told, which did not arrive, is told again.
"""

OTHERS_INSTANCES: Final = _script("""
local theirs, living = {}, {}
local found = redis.call('HGETALL', owner)
for at = 1, #found, 2 do
  local holder = found[at + 1]
  if living[holder] == nil then living[holder] = holder ~= me and lives(holder) or false end
  if living[holder] then theirs[#theirs + 1] = found[at] end
end
return theirs
""")
"""Find the instances of other living gateways."""

OTHERS_ALIVE: Final = _script("""
return redis.call('ZCOUNT', alive, now, '+inf') - (lives(me) and 1 or 0)
""")
"""Count the other living gateways."""

USE: Final = _script("""
-- milliseconds since the use, then identifier, 'using' or 'used' -> those that are being unloaded
local at, leaving = math.max(0, now - tonumber(ARGV[4])), {}
for each = 5, #ARGV, 2 do
  local id, state = ARGV[each], ARGV[each + 1]
  local is_leaving = false
  if state == 'using' then
    for _, gateway in ipairs(redis.call('ZRANGEBYSCORE', alive, now, '+inf')) do
      local other = gateway ~= me and redis.call('HGET', usage, gateway .. '|' .. id)
      if other and other:match('^unloading') then is_leaving = true end
    end
  end
  if is_leaving then leaving[#leaving + 1] = id
  else
    redis.call('HSET', usage, me .. '|' .. id, state .. ' ' .. string.format('%.0f', at))
  end
end
return leaving
""")
"""Show uses of instances."""

CLAIM_UNLOAD: Final = _script("""
-- identifier -> milliseconds since the last use by another, -1 for never, -2 if it must stay
local id, last = ARGV[4], -1
if not lives(me) or held() > 0 then return -2 end
local found = redis.call('HGETALL', usage)
for at = 1, #found, 2 do
  local gateway, of = found[at]:match('^([^|]*)|(.*)$')
  if of == id and gateway ~= me then
    local state, when = found[at + 1]:match('^(%a+) (%d+)$')
    if state == 'using' and lives(gateway) then
      redis.call('HSET', usage, me .. '|' .. id, 'waiting ' .. string.format('%.0f', now))
      return -2
    end
    if state ~= 'unloading' and state ~= 'waiting' then
      local since = math.max(0, now - tonumber(when))
      if last < 0 or since < last then last = since end
    end
  end
end
local holder = redis.call('HGET', owner, id)
if holder and holder ~= me and lives(holder) then return -2 end
redis.call('HSET', usage, me .. '|' .. id, 'unloading 0')
return last
""")
"""Show that an instance is being unloaded, unless another gateway uses or owns it."""

WANTED_UNLOADS: Final = _script("""
-- for how many ms a wish counts -> identifiers
local wanted, found = {}, redis.call('HGETALL', usage)
for at = 1, #found, 2 do
  local gateway, id = found[at]:match('^([^|]*)|(.*)$')
  local state, when = found[at + 1]:match('^(%a+) (%d+)$')
  local is_wanted = state == 'unloading'
    or (state == 'waiting' and now - tonumber(when) <= tonumber(ARGV[4]))
  if is_wanted and gateway ~= me and lives(gateway) then wanted[#wanted + 1] = id end
end
return wanted
""")
"""Find the instances that others unload, or want to unload."""

END_UNLOAD: Final = _script("""
return redis.call('HDEL', usage, me .. '|' .. ARGV[4])
""")
"""Show that an instance is not being unloaded any more."""

REQUESTS: Final = _script("""
-- how long a word is fresh in ms, own counts -> the fresh counts of the others
redis.call('HSET', requests, me, string.format('%.0f', now) .. ' ' .. ARGV[5])
local fresh, found = {}, redis.call('HGETALL', requests)
for at = 1, #found, 2 do
  local when, counts = found[at + 1]:match('^(%d+) (.*)$')
  if found[at] ~= me and when and now - tonumber(when) <= tonumber(ARGV[4]) then
    fresh[#fresh + 1] = counts
  end
end
return fresh
""")
"""Tell how many requests run where, and learn it of others."""

TAKE: Final = _script("""
-- max_running, requests and tokens in a minute (0 is no limit), own running requests, wanted ones,
-- tokens since the last time -> how many may begin, the limit that the others exceed, and seconds
local used, running = KEYS[15], KEYS[16]
local most_running, most_requests = tonumber(ARGV[4]), tonumber(ARGV[5])
local most_tokens = tonumber(ARGV[6])
local own, granted, tokens = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local second, limit, retry = math.floor(now / 1000), 0, 0

-- The fields of a second are 'r' and 't' with its number.
local totals, seconds = {r = 0, t = 0}, {r = {}, t = {}}
local found = redis.call('HGETALL', used)
for at = 1, #found, 2 do
  local kind, when = found[at]:sub(1, 1), tonumber(found[at]:sub(2))
  if when <= second - 60 then redis.call('HDEL', used, found[at])
  else
    local amount = tonumber(found[at + 1])
    totals[kind] = totals[kind] + amount
    seconds[kind][#seconds[kind] + 1] = {when, amount}
  end
end
local function add(kind, amount)
  if amount > 0 then
    redis.call('HINCRBY', used, kind .. string.format('%.0f', second), amount)
    redis.call('PEXPIRE', used, 120000)
    totals[kind] = totals[kind] + amount
    seconds[kind][#seconds[kind] + 1] = {second, amount}
  end
end
local function wait(kind, most)
  table.sort(seconds[kind], function(one, other) return one[1] < other[1] end)
  local left = totals[kind]
  for _, each in ipairs(seconds[kind]) do
    left = left - each[2]
    if left < most then return math.max(1, math.ceil(each[1] + 60 - now / 1000)) end
  end
  return 60
end

add('t', tokens)
if most_tokens > 0 and totals.t >= most_tokens and granted > 0 then granted, limit = 0, 1 end
if most_requests > 0 then
  local left = math.max(0, most_requests - totals.r)
  if left < granted then granted, limit = left, 2 end
end
if most_running > 0 then
  local others, holders = 0, redis.call('HGETALL', running)
  for at = 1, #holders, 2 do
    if holders[at] ~= me then
      if lives(holders[at]) then others = others + tonumber(holders[at + 1])
      else redis.call('HDEL', running, holders[at]) end
    end
  end
  local left = math.max(0, most_running - others - own)
  if left < granted then granted, limit = left, 3 end
  if own + granted > 0 then
    redis.call('HSET', running, me, own + granted)
    redis.call('PEXPIRE', running, 86400000)
  else redis.call('HDEL', running, me) end
end
if most_requests > 0 then add('r', granted) end
if limit == 1 then retry = wait('t', most_tokens) end
if limit == 2 then retry = wait('r', most_requests) end
return {granted, limit, retry}
""")
"""Count the use of a key, and let requests of it begin (`access.counting.judge` has the rules)."""
