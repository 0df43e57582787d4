-- Time without time zones.
local spec = ...
local it, expect, describe = spec.it, spec.expect, spec.describe

describe("os.time", function()
  it("is about now, in whole seconds", function()
    expect(math.type(os.time())).is("integer")
    assert(os.time() > 1700000000)
  end)

  it("takes a date as UTC", function()
    expect(os.time { year = 1970, month = 1, day = 1, hour = 0 }).is(0)
    expect(os.time { year = 1970, month = 1, day = 1 }).is(12 * 3600)
    expect(os.time { year = 2024, month = 2, day = 29, hour = 23, min = 59, sec = 59 })
      .is(1709251199)
    expect(os.time { year = 1969, month = 12, day = 31, hour = 23, min = 59, sec = 59 }).is(-1)
    expect(os.time { year = 2000, month = 3, day = 1, hour = 0, isdst = true }).is(951868800)
    expect(os.time { year = 1600, month = 1, day = 1, hour = 0 }).is(-11676096000)
  end)

  it("normalises the fields and fills in the others", function()
    local d = { year = 2024, month = 14, day = -3, hour = 25, min = -1, sec = 61 }
    local t = os.time(d)
    expect(d.year).is(2025)
    expect(d.month).is(1)
    expect(d.day).is(29)
    expect(d.hour).is(1)
    expect(d.min).is(0)
    expect(d.sec).is(1)
    expect(d.wday).is(4)
    expect(d.yday).is(29)
    expect(d.isdst).is(false)
    expect(os.time(d)).is(t)
    expect(os.time { year = 2024, month = 0, day = 1, hour = 0 })
      .is(os.time { year = 2023, month = 12, day = 1, hour = 0 })
    expect(os.time { year = 2024, month = -11, day = 1, hour = 0 })
      .is(os.time { year = 2023, month = 1, day = 1, hour = 0 })
  end)

  it("names the field that is wrong", function()
    expect(function() os.time {} end).fails_with("field 'year' missing in date table")
    expect(function() os.time { year = 2024, month = 1 } end).fails_with("field 'day' missing")
    expect(function() os.time { year = 2024, month = "x", day = 1 } end).fails_with(
      "field 'month' is not an integer")
    expect(function() os.time { year = 2024, month = 1.5, day = 1 } end).fails_with(
      "field 'month' is not an integer")
    expect(function() os.time { year = 1 << 40, month = 1, day = 1 } end).fails_with(
      "field 'year' is out-of-bound")
    expect(function() os.time { year = (1 << 31) - 1, month = 13, day = 1 } end).fails_with(
      "out of bounds")
    expect(function() os.time(5) end).fails_with("table expected")
    expect(os.time { year = "2024", month = "1", day = 1.0, hour = 0 }).is(1704067200)
  end)
end)

describe("os.date", function()
  it("formats a moment", function()
    local t = 1709251199 -- Thu, 2024-02-29 23:59:59
    expect(os.date("!%Y-%m-%dT%H:%M:%SZ", t)).is("2024-02-29T23:59:59Z")
    expect(os.date("%Y-%m-%dT%H:%M:%SZ", t)).is("2024-02-29T23:59:59Z")
    expect(os.date("%c", t)).is("Thu Feb 29 23:59:59 2024")
    expect(os.date("%x %X %p %D %F %R %r %T", t)).is(
      "02/29/24 23:59:59 PM 02/29/24 2024-02-29 23:59 11:59:59 PM 23:59:59")
    expect(os.date("%a %A %b %B %h", t)).is("Thu Thursday Feb February Feb")
    expect(os.date("%j %U %W %V %G %g %u %w", t)).is("060 08 09 09 2024 24 4 4")
    expect(os.date("%C %y %e %I %%%n%t", t)).is("20 24 29 11 %\n\t")
    expect(os.date("%z %Z", t)).is("+0000 UTC")
    expect(os.date("%Ey %Od %EY", t)).is("24 29 2024")
    expect(os.date("!%c", 0)).is("Thu Jan  1 00:00:00 1970")
    expect(os.date("%I %p", 0)).is("12 AM")
    expect(os.date("", 0)).is("")
    expect(os.date(nil, 0)).is("Thu Jan  1 00:00:00 1970")
  end)

  it("knows the weeks at a year's ends", function()
    local function week(y, m, d)
      return os.date("%G-W%V-%u", os.time { year = y, month = m, day = d })
    end
    expect(week(2005, 1, 1)).is("2004-W53-6")
    expect(week(2005, 1, 2)).is("2004-W53-7")
    expect(week(2007, 1, 1)).is("2007-W01-1")
    expect(week(2008, 12, 29)).is("2009-W01-1")
    expect(week(2010, 1, 3)).is("2009-W53-7")
    expect(week(2020, 12, 31)).is("2020-W53-4")
    expect(week(2021, 1, 4)).is("2021-W01-1")
  end)

  it("gives a table", function()
    expect(os.date("!*t", 951868799)).equals {
      year = 2000, month = 2, day = 29, hour = 23, min = 59, sec = 59,
      wday = 3, yday = 60, isdst = false,
    }
    expect(os.date("*t", 0).year).is(1970)
    expect(os.date("!*t", -1).yday).is(365)
    expect(os.date("*table", 0)).is("*table")
  end)

  it("is the inverse of os.time", function()
    local t = -200000000000
    for _ = 1, 3000 do
      t = t + 133333337
      expect(os.time(os.date("!*t", t))).is(t)
    end
    -- Every day around two century ends, of which one has a leap day.
    for day = -26000, -25000 do
      expect(os.time(os.date("!*t", day * 86400))).is(day * 86400)
    end
    for day = 10900, 11100 do
      expect(os.time(os.date("!*t", day * 86400))).is(day * 86400)
    end
  end)

  it("refuses what it does not know", function()
    expect(function() os.date("%Q", 0) end).fails_with("invalid conversion specifier '%Q'")
    expect(function() os.date("%", 0) end).fails_with("invalid conversion specifier '%'")
    expect(function() os.date("%E", 0) end).fails_with("invalid conversion specifier '%E'")
    expect(function() os.date("%Ed", 0) end).fails_with("invalid conversion specifier '%E'")
    expect(function() os.date("%c", math.maxinteger) end).fails_with("out of bounds")
    expect(function() os.date("%c", math.mininteger) end).fails_with("out of bounds")
    expect(function() os.date("*t", 67767976233532800) end).fails_with("out of bounds")
    expect(function() os.date("%c", 1.5) end).fails_with("no integer representation")
    expect(os.date("%Y", 67767976233532799)).is("2147483647")
  end)
end)

describe("os.clock", function()
  it("goes on, in steps of a millisecond", function()
    local a = os.clock()
    expect(a).is_a("number")
    local b = os.clock()
    assert(b >= a)
    expect(math.floor(b * 1000 + 0.5) / 1000).is(b)
  end)
end)
