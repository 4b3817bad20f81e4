//! Rows as plain values, the same rows as RowBinary and as Native, and seeded corpora of them. Shared by benches and tests, and
//! independent of the crate: what the codec is measured and checked against must not be made by it.

#![allow(dead_code, missing_docs, unreachable_pub)] // each user takes a part, none shows it

pub mod native;

/// Places of texts in [`Row::text`], in the order of the export's columns.
pub const EVENT_NAME: usize = 1;
pub const EVENT_DATA: usize = 2;

/// Places of the texts whose columns are plain strings: their lengths come in four groups.
pub const STRINGS: [usize; 5] = [0, 2, 3, 4, 11];

/// The byte that a row ends with.
pub const ROW_END: u8 = 0xff;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub timestamp: i64,
    pub event_id: u64,
    /// Minutes east of UTC.
    pub offset: i16,
    /// Else a custom event.
    pub pageview: bool,
    pub fresh: bool,
    pub text: [Vec<u8>; 15],
}

impl Row {
    /// A page view without any text.
    pub fn at(timestamp: i64, event_id: u64) -> Self {
        Self {
            timestamp,
            event_id,
            offset: 0,
            pageview: true,
            fresh: false,
            text: Default::default(),
        }
    }

    pub fn event_type(&self) -> &'static str {
        if self.pageview { "pageview" } else { "event" }
    }

    /// The byte that a row begins with.
    pub fn marker(&self) -> u8 {
        let event_type = if self.pageview { 1 } else { 2 };
        event_type + if self.fresh { 2 } else { 0 }
    }

    /// Appends the row as ClickHouse writes it.
    pub fn write(&self, wire: &mut Vec<u8>) {
        wire.push(self.marker());
        wire.extend_from_slice(&self.timestamp.to_le_bytes());
        wire.extend_from_slice(&self.event_id.to_le_bytes());
        wire.extend_from_slice(&self.offset.to_le_bytes());
        for (place, text) in self.text.iter().enumerate() {
            if STRINGS.contains(&place) {
                write_four_groups(text.len() as u32, wire);
            } else {
                write_length(text.len() as u64, wire);
            }
            wire.extend_from_slice(text);
        }
        wire.push(ROW_END);
    }
}

/// Size of a chunk as ClickHouse's HTTP response brings them, in bytes.
pub const CHUNK_BYTES: usize = 128 << 10;

/// Bytes cut into chunks.
pub fn chunks(wire: &[u8], size: usize) -> Vec<bytes::Bytes> {
    let mut rest = bytes::Bytes::copy_from_slice(wire);
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        chunks.push(rest.split_to(rest.len().min(size)));
    }
    chunks
}

/// Appends a LEB128 number.
pub fn write_length(mut length: u64, wire: &mut Vec<u8>) {
    while length >= 0x80 {
        wire.push(length as u8 | 0x80);
        length >>= 7;
    }
    wire.push(length as u8);
}

/// Appends a LEB128 number below 2^28 in four groups, of which the last may be zeros.
pub fn write_four_groups(length: u32, wire: &mut Vec<u8>) {
    debug_assert!(length < 1 << 28);
    let group = |shift: u32| (length >> shift) as u8 & 0x7f;
    wire.extend_from_slice(&[
        group(0) | 0x80,
        group(7) | 0x80,
        group(14) | 0x80,
        group(21),
    ]);
}

/// Rows as one stream of RowBinary.
pub fn wire(rows: &[Row]) -> Vec<u8> {
    let mut wire = Vec::new();
    for row in rows {
        row.write(&mut wire);
    }
    wire
}

/// SplitMix64: the same numbers from the same seed, everywhere. <https://prng.di.unimi.it/splitmix64.c>
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Small numbers are likelier.
    pub fn skewed(&mut self, n: u64) -> u64 {
        let most = self.below(n) + 1;
        self.below(most)
    }

    pub fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.skewed(of.len() as u64) as usize]
    }
}

/// A shape of rows.
#[derive(Clone, Copy, Debug)]
pub enum Corpus {
    /// What a website sends: four page views for each event with a little JSON.
    PageViews,
    /// Events with 1 to 4 KiB of nested JSON.
    FatJson,
    /// What an attacker sends: quotes, controls, bytes that are no text, JSON that is none.
    Hostile,
}

impl Corpus {
    pub const ALL: [Self; 3] = [Self::PageViews, Self::FatJson, Self::Hostile];

    pub fn name(self) -> &'static str {
        match self {
            Self::PageViews => "page views",
            Self::FatJson => "fat JSON",
            Self::Hostile => "hostile",
        }
    }

    /// How many rows a bench takes: some 10 MiB.
    pub fn bench_rows(self) -> usize {
        match self {
            Self::PageViews => 80_000,
            Self::FatJson => 5_000,
            Self::Hostile => 60_000,
        }
    }

    /// The first `count` rows of the corpus, in order of (timestamp, event_id).
    pub fn rows(self, count: usize) -> Vec<Row> {
        let mut random = Random(0x726f_7773_706f_7574);
        let mut timestamp = 1_772_496_000_000;
        (0..count)
            .map(|i| {
                timestamp += random.below(400) as i64;
                let mut row = Row::at(timestamp, i as u64);
                row.offset = 60;
                row.fresh = i + 1000 > count;
                fill(&mut row, &mut random);
                match self {
                    Self::PageViews => {}
                    Self::FatJson => {
                        row.pageview = false;
                        row.text[EVENT_NAME] = b"checkout".to_vec();
                        row.text[EVENT_DATA] = fat_json(&mut random);
                    }
                    Self::Hostile => {
                        for _ in 0..1 + random.below(4) {
                            let column = random.below(15) as usize;
                            row.text[column] = hostile(&mut random);
                        }
                    }
                }
                row
            })
            .collect()
    }
}

fn fill(row: &mut Row, random: &mut Random) {
    const PATHS: [&str; 12] = [
        "/",
        "/pricing",
        "/blog",
        "/docs/getting-started",
        "/login",
        "/signup",
        "/blog/how-we-count-visitors",
        "/features",
        "/docs/api/export",
        "/about",
        "/careers",
        "/contact",
    ];
    const COUNTRIES: [&str; 12] = [
        "US", "DE", "GB", "FR", "IN", "BR", "JP", "CA", "NL", "ES", "IT", "PL",
    ];
    const REGIONS: [&str; 8] = [
        "California",
        "Bavaria",
        "England",
        "Île-de-France",
        "Karnataka",
        "São Paulo",
        "Tokyo",
        "Ontario",
    ];
    const CITIES: [&str; 12] = [
        "San Francisco",
        "Munich",
        "London",
        "Paris",
        "Bengaluru",
        "São Paulo",
        "Tokyo",
        "Toronto",
        "Amsterdam",
        "Madrid",
        "Milan",
        "Warsaw",
    ];
    const BROWSERS: [&str; 5] = ["Chrome", "Safari", "Firefox", "Edge", "Samsung Internet"];
    const SYSTEMS: [&str; 5] = ["Windows", "iOS", "Android", "Mac OS", "Linux"];
    const DEVICES: [&str; 3] = ["desktop", "mobile", "tablet"];
    const REFERRERS: [&str; 7] = [
        "",
        "https://www.google.com/",
        "",
        "https://duckduckgo.com/",
        "https://news.ycombinator.com/item?id=39471234",
        "https://t.co/a8Zk3QpLm1",
        "https://www.linkedin.com/feed/",
    ];
    const SOURCES: [&str; 4] = ["", "newsletter", "google", "linkedin"];
    const MEDIA: [&str; 3] = ["email", "cpc", "social"];
    const CAMPAIGNS: [&str; 3] = ["spring-2026", "launch", "brand"];
    const NAMES: [&str; 4] = ["signup", "download", "video_play", "add_to_cart"];

    row.pageview = random.below(5) > 0;
    let mut url = format!("https://example.com{}", random.one(&PATHS));
    if random.below(4) == 0 {
        url += &format!("?ref={}&page={}", random.below(1000), random.below(20));
    }
    if random.below(60) == 0 {
        url += &format!(
            "&gclid={:032x}{:032x}{:032x}",
            random.next(),
            random.next(),
            random.next()
        );
    }
    let visitor = random.skewed(200_000);
    let place = random.skewed(12) as usize;
    let mut set = |column: usize, text: &str| row.text[column] = text.as_bytes().to_vec();
    set(0, &url);
    set(3, &format!("v_{:016x}", Random(visitor).next()));
    set(
        4,
        &format!("s_{:016x}", Random(visitor * 7 + random.below(3)).next()),
    );
    set(5, COUNTRIES[place]);
    set(6, REGIONS[place % 8]);
    set(7, CITIES[place]);
    set(8, random.one(&BROWSERS));
    set(9, random.one(&SYSTEMS));
    set(10, random.one(&DEVICES));
    set(11, random.one(&REFERRERS));
    let source = random.one(&SOURCES);
    if !source.is_empty() {
        set(12, source);
        set(13, random.one(&MEDIA));
        set(14, random.one(&CAMPAIGNS));
    }
    if !row.pageview {
        let mut set = |column: usize, text: &str| row.text[column] = text.as_bytes().to_vec();
        set(EVENT_NAME, random.one(&NAMES));
        if random.below(10) > 0 {
            set(
                EVENT_DATA,
                &format!(
                    "{{\"plan\":\"{}\",\"value\":{},\"step\":{},\"trial\":{}}}",
                    random.one(&["free", "pro", "team"]),
                    random.below(100_000) as f64 / 100.0,
                    random.below(9),
                    random.below(2) == 0
                ),
            );
        }
    }
}

fn fat_json(random: &mut Random) -> Vec<u8> {
    let mut text = format!("{{\"order\":\"{:016x}\",\"items\":[", random.next());
    for i in 0..4 + random.below(16) {
        if i > 0 {
            text.push(',');
        }
        text += &format!(
            "{{\"sku\":\"SKU-{:08}\",\"name\":\"A thing with a \\\"name\\\" of some length, no. {}\",\"price\":{}.{:02},\
             \"quantity\":{},\"tags\":[\"new\",\"sale\",\"größe-{}\"],\"gift\":null,\"stock\":{}}}",
            random.below(100_000_000),
            i,
            random.below(500),
            random.below(100),
            random.below(5),
            random.below(50),
            random.below(2) == 0
        );
    }
    text += "],\"currency\":\"EUR\"}";
    text.into_bytes()
}

/// Texts that break careless writers.
pub const HOSTILE: [&[u8]; 40] = [
    b"\"",
    b"\"\"",
    b"a\"b",
    b",",
    b"a,b",
    b"\n",
    b"\r",
    b"\r\n",
    b"a\rb",
    b"\t",
    b"\0",
    b"a\0b",
    b"\x08\x0c\x1b\x1f",
    b"\x7f",
    b"\\",
    b"\\\"",
    b"\\u0041",
    b"'",
    b"=1+1",
    b"@SUM(A1)",
    "\u{1f600}".as_bytes(),
    "naïve".as_bytes(),
    "\u{feff}".as_bytes(),
    "\u{2028}\u{2029}".as_bytes(),
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"ab\xf0\x9f\x98cd",
    b"\xe2\x28\xa1",
    b"DB::Exception: ))\n",
    b"Code: 159. DB::Exception: Timeout exceeded ))\n",
    b"\r\n__exception__\r\nabc\r\n",
    b"</script>",
    b"null",
    b"{}",
    b"{\"a\":",
    b"[1,2",
    b"{\"a\":1}",
    b" ",
    b"\x01\x02\x03\x04",
];

/// Texts that look like JSON, and are or are not.
pub const JSONISH: [&[u8]; 36] = [
    b"{}",
    b"[]",
    b"null",
    b"true",
    b"-0",
    b"1e5",
    b"1E+2",
    b"0.5",
    b"\"text\"",
    b"{\"a\":1}",
    b"{\"a\":1,\"a\":2}",
    b"{\n  \"a\": [1,\r\n 2]\n}",
    b" {\"a\":\t1} ",
    b"9007199254740993",
    b"18446744073709551615",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"1e999",
    b"0e309",
    b"\"\\ud800\"",
    b"\"\\ud83d\\ude00\"",
    b"\"\\u0000\"",
    b"01",
    b"1.",
    b".5",
    b"+1",
    b"1e",
    b"-",
    b"tru",
    b"{a:1}",
    b"{\"a\":1,}",
    b"[1,]",
    b"'a'",
    b"\"raw\nbreak\"",
    b"\xef\xbb\xbf{}",
    b"{\"a\":\"\xff\"}",
];

fn hostile(random: &mut Random) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..1 + random.below(3) {
        text.extend_from_slice(HOSTILE[random.below(HOSTILE.len() as u64) as usize]);
        if random.below(2) == 0 {
            text.extend_from_slice(b"plain text between");
        }
    }
    if random.below(3) == 0 {
        text = JSONISH[random.below(JSONISH.len() as u64) as usize].to_vec();
    }
    text
}
