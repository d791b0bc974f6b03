//! Random tables: columns of every type, keys of every type that can be one, every character set, generated and invisible columns,
//! statements while rows change. What the snapshot has of a row is what the log says of it before its next change, and what the log
//! told is what a new snapshot has; or the table is refused by its name.
//!
//! `OPENCONNECT_SEED` repeats a run, `OPENCONNECT_TABLES` says how many tables each server gets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openconnect_core::cloudevents::AttributesReader as _;
use openconnect_core::source::SourceRunner;
use openconnect_mysql_cdc_source::MySqlCdcSource;
use openconnect_sql_fixtures::{Database, Session, System};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::support::{Offsets, data, databases, source};

const ROWS: usize = 12;
const CHANGES: usize = 25;

/// What a column may be.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Type {
    Integer(&'static str, i128, i128),
    Decimal(u32, u32, bool),
    Float,
    Double,
    Bit(u32),
    Year,
    Date,
    Time(u32),
    DateTime(u32),
    Timestamp(u32),
    Text(&'static str),
    Bytes(&'static str),
    Enum,
    Set,
    Json,
    Geometry(&'static str),
    Vector,
    Uuid,
    Inet4,
    Inet6,
}

const INTEGERS: [Type; 11] = [
    Type::Integer("tinyint", -128, 127),
    Type::Integer("tinyint unsigned", 0, 255),
    Type::Integer("boolean", 0, 1),
    Type::Integer("smallint", -32_768, 32_767),
    Type::Integer("smallint unsigned zerofill", 0, 65_535),
    Type::Integer("mediumint", -8_388_608, 8_388_607),
    Type::Integer("mediumint unsigned", 0, 16_777_215),
    Type::Integer("int", -2_147_483_648, 2_147_483_647),
    Type::Integer("int unsigned", 0, 4_294_967_295),
    Type::Integer("bigint", i64::MIN as i128, i64::MAX as i128),
    Type::Integer("bigint unsigned", 0, u64::MAX as i128),
];

/// Texts of which most sets have some characters.
const WORDS: [&str; 14] = [
    "a",
    "A",
    "ab ",
    "größe",
    "GRÖSSE",
    "日本",
    "ｱｲ",
    "naïve\\\\x",
    "Ωμέγα",
    "жук",
    "O''Neill",
    "",
    "\u{1F600}",
    "z{|}~[]",
];

fn a_type(random: &mut StdRng, mariadb: bool) -> Type {
    let digits = random.random_range(0..=6);
    match random.random_range(0..26) {
        0..4 => *INTEGERS.choose(random).unwrap(),
        4 => {
            let precision = random.random_range(1..=65);
            Type::Decimal(precision, random.random_range(0..=precision.min(30)), random.random_bool(0.2))
        }
        5 => Type::Float,
        6 => Type::Double,
        7 => Type::Bit(random.random_range(1..=64)),
        8 => Type::Year,
        9 => Type::Date,
        10 => Type::Time(digits),
        11 => Type::DateTime(digits),
        12 => Type::Timestamp(digits),
        13..16 => Type::Text(
            [
                "char(12)",
                "varchar(20)",
                "varchar(70)",
                "tinytext",
                "text",
                "mediumtext",
                "longtext",
            ]
            .choose(random)
            .unwrap(),
        ),
        16 | 17 => Type::Bytes(
            [
                "binary(6)",
                "varbinary(20)",
                "varbinary(300)",
                "tinyblob",
                "blob",
                "mediumblob",
                "longblob",
            ]
            .choose(random)
            .unwrap(),
        ),
        18 => Type::Enum,
        19 => Type::Set,
        20 => Type::Json,
        21 => Type::Geometry(
            ["geometry", "point", "linestring", "polygon", "multipoint", "geometrycollection"]
                .choose(random)
                .unwrap(),
        ),
        22 if mariadb => Type::Uuid,
        23 if mariadb => Type::Inet4,
        24 if mariadb => Type::Inet6,
        25 if !mariadb => Type::Vector,
        _ => Type::Text("varchar(40)"),
    }
}

/// A column of a table.
#[derive(Debug, Clone)]
struct Column {
    name: String,
    ty: Type,
    /// As it stands in the table's definition.
    definition: String,
    /// How much of it is in the key, where it is.
    key: Option<&'static str>,
}

/// The server's character sets with their collations.
type Collations = Vec<(String, String)>;

impl Column {
    fn new(random: &mut StdRng, name: String, mariadb: bool, collations: &Collations) -> Self {
        let ty = a_type(random, mariadb);
        let (set, collation) = collations.choose(random).unwrap();
        let text = format!("character set {set} collate {collation}");
        let declared = match ty {
            Type::Integer(name, ..) | Type::Bytes(name) | Type::Geometry(name) => name.to_owned(),
            Type::Decimal(precision, scale, zerofill) => {
                format!("decimal({precision},{scale}){}", if zerofill { " unsigned zerofill" } else { "" })
            }
            Type::Float => "float".to_owned(),
            Type::Double => "double".to_owned(),
            Type::Bit(width) => format!("bit({width})"),
            Type::Year => "year".to_owned(),
            Type::Date => "date".to_owned(),
            Type::Time(digits) => format!("time({digits})"),
            Type::DateTime(digits) => format!("datetime({digits})"),
            Type::Timestamp(digits) => format!("timestamp({digits}) null"),
            Type::Text(name) => {
                let compressed = mariadb && !name.starts_with("char") && random.random_bool(0.15);
                format!("{name} {}{text}", if compressed { "compressed " } else { "" })
            }
            Type::Enum => format!("enum('zz','m','10','9','a b') {text}"),
            Type::Set => format!("set('zz','m','10','9','a b') {text}"),
            Type::Json => "json".to_owned(),
            Type::Vector => "vector(4)".to_owned(),
            Type::Uuid => "uuid".to_owned(),
            Type::Inet4 => "inet4".to_owned(),
            Type::Inet6 => "inet6".to_owned(),
        };
        let invisible = if random.random_bool(0.1) && !declared.contains("compressed") {
            " invisible"
        } else {
            ""
        };
        let definition = format!("`{name}` {declared}{invisible}");
        Self {
            name,
            ty,
            definition,
            key: None,
        }
    }

    /// How much of it can be in a key; none where nothing can.
    fn as_key(&self) -> Option<&'static str> {
        if self.definition.contains("compressed") || self.definition.contains("invisible") || self.definition.contains(" null") {
            return None;
        }
        match self.ty {
            Type::Json | Type::Geometry(_) | Type::Vector | Type::Timestamp(_) => None,
            Type::Text("tinytext" | "text" | "mediumtext" | "longtext") => Some("(8)"),
            Type::Bytes("tinyblob" | "blob" | "mediumblob" | "longblob") => Some("(8)"),
            Type::Text("varchar(70)") | Type::Bytes("varbinary(300)") => Some("(20)"),
            _ => Some(""),
        }
    }

    /// A value, as it stands in a statement.
    fn value(&self, random: &mut StdRng) -> String {
        if self.key.is_none() && random.random_bool(0.1) {
            return "null".to_owned();
        }
        let number =
            |random: &mut StdRng, digits: u32| -> String { (0..digits).map(|_| char::from(b'0' + random.random_range(0..10))).collect() };
        let (year, month, day) = (
            random.random_range(1..10_000),
            random.random_range(1..13),
            random.random_range(1..29),
        );
        let time = format!(
            "{:02}:{:02}:{:02}.{:06}",
            random.random_range(0..24),
            random.random_range(0..60),
            random.random_range(0..60),
            random.random_range(0..1_000_000)
        );
        let bytes = |random: &mut StdRng, count: usize| -> String {
            (0..count).map(|_| format!("{:02x}", random.random_range(0..=255_u8))).collect()
        };
        match self.ty {
            Type::Integer(_, least, most) => match random.random_range(0..4) {
                0 => least,
                1 => most,
                2 => random.random_range(least..=most),
                _ => random.random_range(least.max(-12)..=most.min(12)),
            }
            .to_string(),
            Type::Decimal(precision, scale, unsigned) => {
                let whole = random.random_range(0..=precision - scale);
                let sign = if !unsigned && random.random_bool(0.4) { "-" } else { "" };
                format!("{sign}0{}.{}", number(random, whole), number(random, scale))
            }
            Type::Float | Type::Double => {
                let most = if self.ty == Type::Float { 30 } else { 300 };
                format!(
                    "{}{}.{}e{}",
                    if random.random_bool(0.4) { "-" } else { "" },
                    number(random, 1),
                    number(random, 9),
                    random.random_range(-most..most)
                )
            }
            Type::Bit(width) => (random.random::<u64>() >> (64 - width)).to_string(),
            Type::Year => random.random_range(1901..2156).to_string(),
            Type::Date => format!("'{year:04}-{month:02}-{day:02}'"),
            Type::Time(_) => format!(
                "'{}{}{time}'",
                if random.random_bool(0.3) { "-" } else { "" },
                random.random_range(0..8)
            ),
            Type::DateTime(_) => format!("'{year:04}-{month:02}-{day:02} {time}'"),
            Type::Timestamp(_) => format!("'{:04}-{month:02}-{day:02} {time}'", 1971 + year % 60),
            Type::Text(_) => format!("'{}{}'", WORDS.choose(random).unwrap(), WORDS.choose(random).unwrap()),
            Type::Bytes(_) => {
                let count = random.random_range(0..6);
                format!("x'{}'", bytes(random, count))
            }
            Type::Enum => random.random_range(1..6).to_string(),
            Type::Set => random.random_range(0..32).to_string(),
            Type::Json => [
                "'{\"b\":[1,2.50,null,\"x\\\\u00e9\"],\"a\":{}}'",
                "'[]'",
                "'\"text\"'",
                "'18446744073709551615'",
                "'{\"k\":\"\\\\\\\\\\\\\"\"}'",
                "'true'",
            ]
            .choose(random)
            .unwrap()
            .to_string(),
            Type::Geometry(kind) => {
                let (x, y) = (random.random_range(-90..90), random.random_range(-90..90));
                let text = match kind {
                    "linestring" => format!("LINESTRING({x} {y},1 2)"),
                    "polygon" => format!("POLYGON((0 0,0 {y}.5,1 1,0 0))"),
                    "multipoint" => format!("MULTIPOINT({x} {y},3 4)"),
                    "geometrycollection" => format!("GEOMETRYCOLLECTION(POINT({x} {y}))"),
                    _ => format!("POINT({x} {y})"),
                };
                format!("st_geomfromtext('{text}')")
            }
            Type::Vector => format!("string_to_vector('[{}.5,-1,0,3]')", random.random_range(-9..9)),
            Type::Uuid => format!("'{}'", uuid_text(&bytes(random, 16))),
            Type::Inet4 => format!(
                "'{}.{}.0.{}'",
                random.random_range(0..256),
                random.random_range(0..256),
                random.random_range(0..256)
            ),
            Type::Inet6 => {
                let group = |random: &mut StdRng| {
                    if random.random_bool(0.5) {
                        0
                    } else {
                        random.random_range(0..=0xffff_u32)
                    }
                };
                let groups: Vec<String> = (0..8).map(|_| format!("{:x}", group(random))).collect();
                format!("'{}'", groups.join(":"))
            }
        }
    }
}

fn uuid_text(hex: &str) -> String {
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A table that is made of chance.
#[derive(Debug, Clone)]
struct Table {
    name: String,
    columns: Vec<Column>,
    definition: String,
    /// Columns that were added later.
    added: usize,
}

impl Table {
    fn new(random: &mut StdRng, name: String, mariadb: bool, collations: &Collations) -> Self {
        let count = random.random_range(3..10);
        let mut columns: Vec<Column> = (0..count)
            .map(|at| Column::new(random, format!("{} {at}", ["c", "Größe", "select"][at % 3]), mariadb, collations))
            .collect();
        let (mut parts, wanted) = (0, random.random_range(1..4));
        for column in &mut columns {
            let part = column.as_key().filter(|_| parts < wanted);
            parts += usize::from(part.is_some());
            column.key = part;
        }
        let mut definitions: Vec<String> = columns.iter().map(|column| column.definition.clone()).collect();
        let mut key: Vec<String> = columns
            .iter()
            .filter_map(|column| Some(format!("`{}`{}", column.name, column.key?)))
            .collect();
        if random.random_bool(0.5) {
            key.reverse();
        }
        if key.is_empty() {
            definitions.push("id int auto_increment".to_owned());
            key.push("id".to_owned());
        }
        definitions.push("touched int not null default 0".to_owned());
        let stored = ["virtual", "stored"].choose(random).unwrap();
        definitions.push(format!("doubled int generated always as (touched * 2) {stored}"));
        let definition = format!(
            "create table `{name}` ({}, primary key ({})) character set utf8mb4",
            definitions.join(", "),
            key.join(", ")
        );
        Self {
            name,
            columns,
            definition,
            added: 0,
        }
    }

    fn insert(&self, random: &mut StdRng) -> String {
        let names: Vec<String> = self.columns.iter().map(|column| format!("`{}`", column.name)).collect();
        let values: Vec<String> = self.columns.iter().map(|column| column.value(random)).collect();
        format!(
            "insert ignore into `{}` ({}) values ({})",
            self.name,
            names.join(", "),
            values.join(", ")
        )
    }

    fn change(&self, random: &mut StdRng) -> String {
        let column = self.columns.choose(random).unwrap();
        match random.random_range(0..10) {
            0..3 => self.insert(random),
            3 => format!("delete from `{}` order by rand() limit 1", self.name),
            4 => format!("update `{}` set touched = touched + 1 order by rand() limit 3", self.name),
            _ => format!(
                "update ignore `{}` set `{}` = {} order by rand() limit 1",
                self.name,
                column.name,
                column.value(random)
            ),
        }
    }

    /// A statement that changes the table, and the table then.
    fn alter(&mut self, random: &mut StdRng, mariadb: bool, collations: &Collations) -> String {
        if random.random_bool(0.3) && self.columns.iter().any(|column| column.key.is_none()) {
            let at = self.columns.iter().position(|column| column.key.is_none()).unwrap();
            let column = self.columns.remove(at);
            return format!("alter table `{}` drop column `{}`", self.name, column.name);
        }
        self.added += 1;
        let column = Column::new(random, format!("added {}", self.added), mariadb, collations);
        let place = ["first", ""].choose(random).unwrap();
        let sql = format!("alter table `{}` add column {} {place}", self.name, column.definition);
        self.columns.push(column);
        sql
    }
}

/// The rows of all tables, as the events say: by table and key.
#[derive(Debug, Default)]
struct Rows {
    rows: BTreeMap<(String, String), Value>,
    /// Tables whose rows were not told again since a statement changed them.
    altered: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Rows {
    fn apply(&mut self, key: &str, event: &Value) {
        let place = (event["source"]["table"].as_str().unwrap().to_owned(), key.to_owned());
        let (op, before, after) = (event["op"].as_str().unwrap(), &event["before"], &event["after"]);
        if matches!(op, "u" | "d")
            && !self.altered.contains(&place.0)
            && let Some(known) = self.rows.get(&place)
            && known != before
        {
            self.wrong.push(format!("{place:?} was {known}, and the log says {before}"));
        }
        match op {
            "d" => drop(self.rows.remove(&place)),
            _ => drop(self.rows.insert(place, after.clone())),
        }
    }
}

struct Run {
    reads: SourceRunner<MySqlCdcSource>,
    offsets: Offsets,
    rows: Rows,
    excluded: Vec<String>,
    seed: u64,
}

impl Run {
    async fn start(database: &Database, seed: u64, chunk_rows: u64) -> Self {
        let mut excluded: Vec<String> = Vec::new();
        loop {
            let settings = json!({ "chunk_rows": chunk_rows, "parallel_chunks": 1 + seed % 3, "exclude": excluded });
            let mut reads = source(database, settings, &Offsets::new()).await;
            // The first call opens it, or refuses a table by its name.
            match reads.next().await {
                Ok(records) => {
                    let mut run = Self {
                        reads,
                        offsets: Offsets::new(),
                        rows: Rows::default(),
                        excluded,
                        seed,
                    };
                    run.take(records);
                    return run;
                }
                Err(failure) if failure.code == "CDC_TABLE" && excluded.len() < 100 => {
                    let name = failure.reason().split('`').nth(1).unwrap().to_owned();
                    println!("refused: {}", failure.reason());
                    excluded.push(name);
                }
                Err(failure) => panic!("seed {seed}: {failure:#}"),
            }
        }
    }

    fn take(&mut self, records: Vec<openconnect_core::record::Record<openconnect_mysql_cdc_source::Position>>) -> bool {
        let mut ended = false;
        for record in records {
            self.offsets.insert(record.partition().clone(), record.position().unwrap().clone());
            if let Some(event) = record.as_event() {
                let data = data(event);
                ended |= data["source"]["table"] == "zz end";
                self.rows.apply(event.subject().unwrap_or_default(), &data);
            }
        }
        ended
    }

    /// Reads until everything that was done is told, and the snapshot is done.
    async fn drain(&mut self, database: &Database) {
        database.execute("update `zz end` set n = n + 1").await.unwrap();
        let mut ended = false;
        loop {
            let whole = self.offsets.values().all(|position| position.snapshot.is_none());
            if ended && whole {
                return;
            }
            let polled = tokio::time::timeout(Duration::from_secs(30), self.reads.next()).await;
            let records = polled.unwrap_or_else(|_| panic!("seed {}: the end was not reached", self.seed));
            let records = records.unwrap_or_else(|failure| panic!("seed {}: {failure:#}", self.seed));
            ended |= self.take(records);
        }
    }

    async fn poll(&mut self) {
        if let Ok(polled) = tokio::time::timeout(Duration::from_millis(5), self.reads.next()).await {
            let records = polled.unwrap_or_else(|failure| panic!("seed {}: {failure:#}", self.seed));
            self.take(records);
        }
    }
}

async fn collations(database: &Database) -> Collations {
    let sql = "select cast(character_set_name as char), cast(collation_name as char) from information_schema.collations \
               where character_set_name <> 'binary' and collation_name like concat(character_set_name, '\\_%') and is_compiled = 'Yes'";
    let found = database.query(sql).await.unwrap();
    let all = found.into_iter().map(|row| (row[0].clone(), row[1].clone()));
    // Each set as often as another, not as it has collations.
    let mut by_set: BTreeMap<String, Vec<String>> = BTreeMap::new();
    all.for_each(|(set, collation)| by_set.entry(set).or_default().push(collation));
    let mut some = Vec::new();
    for (set, collations) in by_set {
        let every = (collations.len() / 4).max(1);
        some.extend(collations.into_iter().step_by(every).map(|collation| (set.clone(), collation)));
    }
    some
}

#[tokio::test]
async fn random_tables_are_told_as_they_are() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let seed: u64 = number("OPENCONNECT_SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let tables = number("OPENCONNECT_TABLES").unwrap_or(8);
    println!("seed {seed}");
    for database in databases().await {
        let mut left = tables;
        let mut seed = seed;
        while left > 0 {
            let some = left.min(8);
            run(&database, seed, some).await;
            left -= some;
            seed += 1;
        }
    }
}

async fn run(database: &Database, seed: u64, count: u64) {
    let mariadb = database.system() == System::MariaDb;
    let mut random = StdRng::seed_from_u64(seed);
    let collations = collations(database).await;
    let mut session: Session = database.session().await.unwrap();
    session.run("set session sql_mode = ''").await.unwrap();
    let mut tables = Vec::new();
    for number in 0..count {
        let table = Table::new(&mut random, format!("t {number}"), mariadb, &collations);
        // Some collations do not go with some types: those have another chance.
        if let Err(error) = session.run(&table.definition).await {
            println!("not a table: {error}");
            continue;
        }
        for _ in 0..ROWS {
            let sql = table.insert(&mut random);
            session
                .run(&sql)
                .await
                .unwrap_or_else(|error| panic!("seed {seed}: {sql}: {error}"));
        }
        tables.push(table);
    }
    session
        .run("create table `zz end` (id int primary key, n int); insert into `zz end` values (1, 0)")
        .await
        .unwrap();
    let mut reading = Run::start(database, seed, random.random_range(1..6)).await;
    for _ in 0..CHANGES * tables.len() {
        let sql = tables.choose(&mut random).unwrap().change(&mut random);
        session
            .run(&sql)
            .await
            .unwrap_or_else(|error| panic!("seed {seed}: {sql}: {error}"));
        reading.poll().await;
    }
    reading.drain(database).await;
    for table in &mut tables {
        let sql = table.alter(&mut random, mariadb, &collations);
        if let Err(error) = session.run(&sql).await {
            println!("not altered: {sql}: {error}");
            table.columns.retain(|column| !column.name.starts_with("added"));
            continue;
        }
        reading.rows.altered.insert(table.name.clone());
        session.run(&table.change(&mut random)).await.unwrap();
    }
    for table in &tables {
        session
            .run(&format!("update `{}` set touched = touched + 1", table.name))
            .await
            .unwrap();
    }
    reading.drain(database).await;
    reading.rows.altered.clear();
    for table in &tables {
        session.run(&table.change(&mut random)).await.unwrap();
    }
    reading.drain(database).await;
    let mut anew = Run::start(database, seed, random.random_range(1..6)).await;
    anew.drain(database).await;
    let name = database.system().name();
    let wrong = &reading.rows.wrong;
    assert!(
        wrong.is_empty(),
        "{name} seed {seed}: {} {:#?}\n{tables:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
    let of_tables = |rows: &Rows| -> BTreeMap<(String, String), Value> {
        let kept = rows
            .rows
            .iter()
            .filter(|((table, _), _)| *table != "zz end" && !anew.excluded.contains(table));
        kept.map(|(place, row)| (place.clone(), row.clone())).collect()
    };
    let (told, there) = (of_tables(&reading.rows), of_tables(&anew.rows));
    assert!(there.len() > tables.len(), "{name} seed {seed}: nothing was compared");
    let differ: Vec<String> = told
        .keys()
        .chain(there.keys())
        .filter(|place| told.get(*place) != there.get(*place))
        .map(|place| format!("{place:?}: told {:?}, there {:?}", told.get(place), there.get(place)))
        .collect();
    assert!(
        differ.is_empty(),
        "{name} seed {seed}: {} {:#?}\n{tables:#?}",
        differ.len(),
        &differ[..differ.len().min(5)]
    );
    for table in tables {
        session.run(&format!("drop table `{}`", table.name)).await.unwrap();
    }
    session.run("drop table `zz end`").await.unwrap();
}
