//! The values that programs work on: JSON, with numbers that keep their digits until something is calculated, and metered.
//!
//! A [`Value`] is what a program has in its hands; arrays and objects hold [`Kind`]s. Semantics are jq's as jaq has them,
//! except that `null` has fields (all `null`) as in jq.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use indexmap::IndexMap;
use jaq_core::box_iter::box_once;
use jaq_core::path::Opt;
use jaq_core::val::Range;
use jaq_core::{Exn, ValT};

use super::meter::{self, DEPTH, Handle, Limit, Memory, TEXT};

pub(super) type Error = jaq_core::Error<Value>;
pub(super) type ValR = jaq_core::ValR<Value>;
pub(super) type ValX<'a> = jaq_core::ValX<'a, Value>;

/// A length or an index as jq's numbers have it.
pub(super) fn signed(n: usize) -> isize {
    isize::try_from(n).unwrap_or(isize::MAX)
}

#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) kind: Kind,
    _handle: Handle,
}

#[derive(Debug, Clone, Default)]
pub(super) enum Kind {
    #[default]
    Null,
    Bool(bool),
    Int(isize),
    Float(f64),
    /// A number that the others can't hold, or that was not calculated: its text.
    Number(Rc<Text>),
    Text(Rc<Text>),
    Array(Rc<Array>),
    Object(Rc<Object>),
}

#[derive(Debug, Clone)]
pub(super) struct Text {
    text: String,
    memory: Memory,
}

#[derive(Debug, Clone)]
pub(super) struct Array {
    items: Vec<Kind>,
    depth: u16,
    memory: Memory,
}

#[derive(Debug, Clone)]
pub(super) struct Object {
    fields: IndexMap<Rc<Text>, Kind>,
    depth: u16,
    memory: Memory,
}

impl Text {
    /// Beside its bytes.
    const SIZE: usize = 64;

    pub(super) fn new(text: String) -> Rc<Self> {
        if text.len() > TEXT {
            meter::stop(Limit::Text);
        }
        let memory = Memory::new(Self::SIZE + text.len());
        Rc::new(Self { text, memory })
    }

    fn push(&mut self, more: &str) {
        if self.text.len() + more.len() > TEXT {
            meter::stop(Limit::Text);
        }
        self.memory.grow(more.len());
        self.text.push_str(more);
    }
}

impl std::ops::Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        meter::work(self.text.len().min(other.text.len()));
        self.text == other.text
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        meter::work(self.text.len());
        self.text.hash(state);
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        meter::work(self.text.len().min(other.text.len()));
        self.text.cmp(&other.text)
    }
}

/// One level above.
fn above(depth: u16) -> u16 {
    if depth >= DEPTH {
        meter::stop(Limit::Depth);
    }
    depth + 1
}

impl Default for Array {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            depth: 1,
            memory: Memory::new(Text::SIZE),
        }
    }
}

impl Array {
    /// An item and the room that a growing list keeps free.
    const ITEM: usize = 2 * size_of::<Kind>();

    pub(super) fn push(&mut self, item: Kind) {
        self.memory.grow(Self::ITEM);
        self.depth = self.depth.max(above(item.depth()));
        self.items.push(item);
    }

    /// Replaces an item; without a replacement it goes.
    fn update<E>(&mut self, at: usize, f: impl FnOnce(Kind) -> Result<Option<Kind>, E>) -> Result<(), E> {
        let (was, held) = (above(self.items[at].depth()), std::mem::take(&mut self.items[at]));
        let level = match f(held)? {
            Some(item) => {
                let level = above(item.depth());
                self.items[at] = item;
                level
            }
            None => {
                meter::work(self.items.len() * size_of::<Kind>());
                self.items.remove(at);
                1
            }
        };
        if level >= self.depth {
            self.depth = level;
        } else if was == self.depth {
            meter::work(self.items.len() * size_of::<Kind>());
            self.depth = 1 + self.items.iter().map(Kind::depth).max().unwrap_or(0);
        }
        Ok(())
    }
}

impl std::ops::Deref for Array {
    type Target = [Kind];

    fn deref(&self) -> &[Kind] {
        &self.items
    }
}

impl FromIterator<Kind> for Array {
    fn from_iter<T: IntoIterator<Item = Kind>>(items: T) -> Self {
        let mut array = Self::default();
        items.into_iter().for_each(|item| array.push(item));
        array
    }
}

impl Default for Object {
    fn default() -> Self {
        Self {
            fields: IndexMap::new(),
            depth: 1,
            memory: Memory::new(Text::SIZE),
        }
    }
}

impl Object {
    /// A field, its place in the index, and the room that a growing map keeps free.
    const FIELD: usize = 96;

    pub(super) fn insert(&mut self, name: Rc<Text>, value: Kind) {
        let level = above(value.depth());
        let was = match self.fields.insert(name, value) {
            Some(was) => above(was.depth()),
            None => {
                self.memory.grow(Self::FIELD);
                1
            }
        };
        self.settle(was, level);
    }

    /// The depth after a value of level `was` gave way to one of `level`.
    fn settle(&mut self, was: u16, level: u16) {
        if level >= self.depth {
            self.depth = level;
        } else if was == self.depth {
            meter::work(self.fields.len() * Self::FIELD);
            self.depth = 1 + self.fields.values().map(Kind::depth).max().unwrap_or(0);
        }
    }

    pub(super) fn get(&self, name: &Text) -> Option<&Kind> {
        self.fields.get(name)
    }

    /// Replaces what a field has; what has no replacement goes, and its place is taken by the last.
    fn update<E>(&mut self, name: &Rc<Text>, f: impl FnOnce(Kind) -> Result<Option<Kind>, E>) -> Result<(), E> {
        let Some(place) = self.fields.get_mut(&**name) else {
            if let Some(value) = f(Kind::Null)? {
                self.insert(Rc::clone(name), value);
            }
            return Ok(());
        };
        let (was, held) = (above(place.depth()), std::mem::take(place));
        match f(held)? {
            Some(value) => {
                let level = above(value.depth());
                *place = value;
                self.settle(was, level);
            }
            None => {
                self.fields.swap_remove(&**name);
                self.settle(was, 1);
            }
        }
        Ok(())
    }

    /// `*` of objects: objects in both are merged, else the other's value is taken.
    fn merge(&mut self, other: &Self) {
        for (name, theirs) in &other.fields {
            meter::step();
            match (self.fields.get(&**name), theirs) {
                (Some(Kind::Object(mine)), Kind::Object(theirs)) => {
                    let mut merged = (**mine).clone();
                    merged.merge(theirs);
                    self.insert(Rc::clone(name), Kind::Object(Rc::new(merged)));
                }
                _ => self.insert(Rc::clone(name), theirs.clone()),
            }
        }
    }
}

impl std::ops::Deref for Object {
    type Target = IndexMap<Rc<Text>, Kind>;

    fn deref(&self) -> &Self::Target {
        &self.fields
    }
}

impl Kind {
    /// Levels of arrays and objects.
    fn depth(&self) -> u16 {
        match self {
            Self::Array(array) => array.depth,
            Self::Object(object) => object.depth,
            _ => 0,
        }
    }

    /// Equal to the last digit, which `==` is not: numbers that doubles can't tell apart differ here.
    pub(super) fn same(&self, other: &Self) -> bool {
        meter::step();
        match (self, other) {
            (Self::Number(l), Self::Number(r)) => l == r,
            (Self::Number(_), _) | (_, Self::Number(_)) => false,
            (Self::Array(l), Self::Array(r)) => Rc::ptr_eq(l, r) || (l.len() == r.len() && l.iter().zip(r.iter()).all(|(l, r)| l.same(r))),
            (Self::Object(l), Self::Object(r)) => {
                let in_right = |(name, l): (&Rc<Text>, &Self)| r.get(name).is_some_and(|r| l.same(r));
                Rc::ptr_eq(l, r) || (l.len() == r.len() && l.iter().all(in_right))
            }
            (l, r) => l == r,
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Float(_) | Self::Number(_))
    }

    /// The number to calculate with.
    fn number(&self) -> Option<f64> {
        match self {
            Self::Int(n) => Some(*n as f64),
            Self::Float(n) => Some(*n),
            Self::Number(text) => Some(text.parse().unwrap_or(f64::NAN)),
            _ => None,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Int(_) | Self::Float(_) | Self::Number(_) => 2,
            Self::Text(_) => 3,
            Self::Array(_) => 4,
            Self::Object(_) => 5,
        }
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        meter::step();
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(l), Self::Bool(r)) => l == r,
            (Self::Int(l), Self::Int(r)) => l == r,
            (Self::Number(l), Self::Number(r)) if l == r => true,
            (Self::Text(l), Self::Text(r)) => Rc::ptr_eq(l, r) || l == r,
            (Self::Array(l), Self::Array(r)) => Rc::ptr_eq(l, r) || l.items == r.items,
            (Self::Object(l), Self::Object(r)) => Rc::ptr_eq(l, r) || l.fields == r.fields,
            (l, r) => matches!((l.number(), r.number()), (Some(l), Some(r)) if l == r),
        }
    }
}

impl Eq for Kind {}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Self) -> Ordering {
        meter::step();
        match (self, other) {
            (Self::Bool(l), Self::Bool(r)) => l.cmp(r),
            (Self::Int(l), Self::Int(r)) => l.cmp(r),
            (Self::Text(l), Self::Text(r)) => l.cmp(r),
            (Self::Array(l), Self::Array(r)) => l.items.cmp(&r.items),
            (Self::Object(l), Self::Object(r)) => sorted(l)
                .map(|(name, _)| name)
                .cmp(sorted(r).map(|(name, _)| name))
                .then_with(|| sorted(l).map(|(_, value)| value).cmp(sorted(r).map(|(_, value)| value))),
            (l, r) => match (l.number(), r.number()) {
                (Some(l), Some(r)) => order(l, r),
                _ => l.rank().cmp(&r.rank()),
            },
        }
    }
}

/// Numbers in order, NaN first.
fn order(l: f64, r: f64) -> Ordering {
    l.partial_cmp(&r).unwrap_or_else(|| r.is_nan().cmp(&l.is_nan()))
}

fn sorted(object: &Object) -> impl Iterator<Item = (&Rc<Text>, &Kind)> {
    let mut fields: Vec<_> = object.fields.iter().collect();
    fields.sort_by_key(|(name, _)| *name);
    fields.into_iter()
}

impl From<Kind> for Value {
    fn from(kind: Kind) -> Self {
        Self {
            kind,
            _handle: Handle::new(),
        }
    }
}

impl From<Array> for Value {
    fn from(array: Array) -> Self {
        Kind::Array(Rc::new(array)).into()
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Kind::Object(Rc::new(object)).into()
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Kind::Bool(value).into()
    }
}

impl From<isize> for Value {
    fn from(value: isize) -> Self {
        Kind::Int(value).into()
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Kind::Float(value).into()
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Kind::Text(Text::new(text)).into()
    }
}

impl FromIterator<Self> for Value {
    fn from_iter<T: IntoIterator<Item = Self>>(items: T) -> Self {
        items.into_iter().map(|item| item.kind).collect::<Array>().into()
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Eq for Value {}

#[allow(
    clippy::non_canonical_partial_ord_impl,
    reason = "jq's `<` says that NaN is less than itself, which no order for sorting can"
)]
impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        if matches!(self.kind, Kind::Float(n) if n.is_nan()) && other.kind.is_number() {
            return Some(Ordering::Less);
        }
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.kind.cmp(&other.kind)
    }
}

impl Value {
    fn int(&self) -> Result<isize, Error> {
        match self.kind {
            Kind::Int(n) => Ok(n),
            _ => Err(Error::typ(self.clone(), "integer")),
        }
    }

    pub(super) fn text(&self) -> Result<&Rc<Text>, Error> {
        match &self.kind {
            Kind::Text(text) => Ok(text),
            _ => Err(Error::typ(self.clone(), "string")),
        }
    }

    pub(super) fn array(&self) -> Result<&Rc<Array>, Error> {
        match &self.kind {
            Kind::Array(array) => Ok(array),
            _ => Err(Error::typ(self.clone(), "array")),
        }
    }

    /// What the object has under the name.
    pub(super) fn field(&self, name: &str) -> Option<&Kind> {
        match &self.kind {
            Kind::Object(object) => object.fields.iter().find_map(|(key, value)| (***key == *name).then_some(value)),
            _ => None,
        }
    }
}

/// The place that an index means: negative ones count from the end.
fn place(index: isize, len: usize) -> Option<usize> {
    let len = isize::try_from(len).ok()?;
    let index = if index < 0 { index + len } else { index };
    usize::try_from(index).ok()
}

/// The part that a slice means: where it begins, and how many.
fn part(range: &Range<&Value>, len: usize) -> Result<(usize, usize), Error> {
    let bound = |index: Option<&Value>, none: usize| {
        let index = index.map(Value::int).transpose()?;
        Ok(index.map_or(none, |index| place(index, len).unwrap_or(0).min(len)))
    };
    let (from, upto) = (bound(range.start, 0)?, bound(range.end, len)?);
    Ok((from, upto.saturating_sub(from)))
}

impl ValT for Value {
    fn from_num(text: &str) -> ValR {
        Ok(Kind::Number(Text::new(text.to_owned())).into())
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(fields: I) -> ValR {
        let mut object = Object::default();
        for (name, value) in fields {
            object.insert(Rc::clone(name.text()?), value.kind);
        }
        Ok(object.into())
    }

    fn values(self) -> Box<dyn Iterator<Item = ValR>> {
        match self.kind {
            Kind::Array(array) => Box::new((0..array.len()).map(move |at| Ok(array[at].clone().into()))),
            Kind::Object(object) => Box::new((0..object.len()).map(move |at| Ok(object[at].clone().into()))),
            _ => box_once(Err(Error::typ(self, "iterable (array or object)"))),
        }
    }

    fn index(self, index: &Self) -> ValR {
        let found = match (&self.kind, &index.kind) {
            (Kind::Array(array), Kind::Int(at)) => place(*at, array.len()).and_then(|at| array.get(at)),
            (Kind::Object(object), Kind::Text(name)) => object.get(name),
            (Kind::Null, Kind::Int(_) | Kind::Text(_)) => None,
            _ => return Err(Error::index(self, index.clone())),
        };
        Ok(found.cloned().unwrap_or_default().into())
    }

    fn range(self, range: Range<&Self>) -> ValR {
        match &self.kind {
            Kind::Null => Ok(self),
            Kind::Array(array) => {
                let (skip, take) = part(&range, array.len())?;
                Ok(array[skip..skip + take].iter().cloned().collect::<Array>().into())
            }
            Kind::Text(text) => {
                meter::work(text.len());
                let (skip, take) = part(&range, text.chars().count())?;
                Ok(text.chars().skip(skip).take(take).collect::<String>().into())
            }
            _ => Err(Error::typ(self, "rangeable (array or string)")),
        }
    }

    fn map_values<'a, I: Iterator<Item = ValX<'a>>>(self, opt: Opt, f: impl Fn(Self) -> I) -> ValX<'a> {
        match self.kind {
            Kind::Array(array) => {
                let items = Rc::unwrap_or_clone(array).items.into_iter();
                items.flat_map(|item| f(item.into())).collect()
            }
            Kind::Object(object) => {
                let mut mapped = Object::default();
                for (name, value) in Rc::unwrap_or_clone(object).fields {
                    if let Some(value) = f(value.into()).next() {
                        mapped.insert(name, value?.kind);
                    }
                }
                Ok(mapped.into())
            }
            _ => opt.fail(self, |v| Exn::from(Error::typ(v, "iterable (array or object)"))),
        }
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a>>>(mut self, index: &Self, opt: Opt, f: impl Fn(Self) -> I) -> ValX<'a> {
        let updated = |kind: Kind| -> Result<_, Exn<'a, Self>> { Ok(f(kind.into()).next().transpose()?.map(|value| value.kind)) };
        if let (Kind::Null, Kind::Text(_)) = (&self.kind, &index.kind) {
            self.kind = Kind::Object(Rc::default());
        }
        match (&mut self.kind, &index.kind) {
            (Kind::Object(object), Kind::Text(name)) => Rc::make_mut(object).update(name, updated)?,
            (Kind::Array(array), Kind::Int(at)) => {
                let Some(at) = place(*at, array.len()).filter(|at| *at < array.len()) else {
                    return opt.fail(self, |_| Exn::from(Error::str(format_args!("index {index} out of bounds"))));
                };
                Rc::make_mut(array).update(at, updated)?;
            }
            _ => return opt.fail(self, |v| Exn::from(Error::index(v, index.clone()))),
        }
        Ok(self)
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a>>>(self, range: Range<&Self>, opt: Opt, f: impl Fn(Self) -> I) -> ValX<'a> {
        let Kind::Array(array) = &self.kind else {
            return opt.fail(self, |v| Exn::from(Error::typ(v, "array")));
        };
        let (skip, take) = match part(&range, array.len()) {
            Ok(part) => part,
            Err(error) => return opt.fail(self, |_| Exn::from(error)),
        };
        let inner = array[skip..skip + take].iter().cloned().collect::<Array>().into();
        let changed = f(inner).next().transpose()?;
        let changed = changed.as_ref().map(Self::array).transpose().map_err(Exn::from)?;
        let items = array[..skip].iter();
        let items = items.chain(changed.into_iter().flat_map(|array| array.iter()));
        Ok(items.chain(&array[skip + take..]).cloned().collect::<Array>().into())
    }

    fn as_bool(&self) -> bool {
        !matches!(self.kind, Kind::Null | Kind::Bool(false))
    }

    fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl jaq_std::ValT for Value {
    fn into_seq<S: FromIterator<Self>>(self) -> Result<S, Self> {
        match self.kind {
            Kind::Array(array) => Ok(array.iter().cloned().map(Self::from).collect()),
            _ => Err(self),
        }
    }

    fn as_isize(&self) -> Option<isize> {
        self.int().ok()
    }

    fn as_f64(&self) -> Result<f64, Error> {
        self.kind.number().ok_or_else(|| Error::typ(self.clone(), "number"))
    }
}

/// `+`, `-`, `*` and `/` of numbers: in integers where it can be, else in doubles.
fn calculate(l: &Kind, r: &Kind, whole: fn(isize, isize) -> Option<isize>, double: fn(f64, f64) -> f64) -> Option<Value> {
    if let (Kind::Int(l), Kind::Int(r)) = (l, r)
        && let Some(result) = whole(*l, *r)
    {
        return Some(result.into());
    }
    Some(double(l.number()?, r.number()?).into())
}

impl std::ops::Add for Value {
    type Output = ValR;

    fn add(mut self, other: Self) -> ValR {
        if let Some(sum) = calculate(&self.kind, &other.kind, isize::checked_add, |l, r| l + r) {
            return Ok(sum);
        }
        match (&mut self.kind, &other.kind) {
            (Kind::Null, _) => return Ok(other),
            (_, Kind::Null) => {}
            (Kind::Text(l), Kind::Text(r)) => Rc::make_mut(l).push(r),
            (Kind::Array(l), Kind::Array(r)) => {
                let l = Rc::make_mut(l);
                r.iter().cloned().for_each(|item| l.push(item));
            }
            (Kind::Object(l), Kind::Object(r)) => {
                let l = Rc::make_mut(l);
                r.fields.iter().for_each(|(name, value)| l.insert(Rc::clone(name), value.clone()));
            }
            _ => return Err(Error::math(self, jaq_core::ops::Math::Add, other)),
        }
        Ok(self)
    }
}

impl std::ops::Sub for Value {
    type Output = ValR;

    fn sub(self, other: Self) -> ValR {
        if let Some(difference) = calculate(&self.kind, &other.kind, isize::checked_sub, |l, r| l - r) {
            return Ok(difference);
        }
        match (&self.kind, &other.kind) {
            (Kind::Array(l), Kind::Array(r)) => {
                let without: std::collections::BTreeSet<&Kind> = r.iter().collect();
                let kept = l.iter().filter(|item| !without.contains(item));
                Ok(kept.cloned().collect::<Array>().into())
            }
            _ => Err(Error::math(self, jaq_core::ops::Math::Sub, other)),
        }
    }
}

impl std::ops::Mul for Value {
    type Output = ValR;

    fn mul(mut self, other: Self) -> ValR {
        if let Some(product) = calculate(&self.kind, &other.kind, isize::checked_mul, |l, r| l * r) {
            return Ok(product);
        }
        match (&mut self.kind, &other.kind) {
            (Kind::Text(text), Kind::Int(times)) => Ok(repeat(text, *times)),
            (Kind::Int(times), Kind::Text(text)) => Ok(repeat(text, *times)),
            (Kind::Object(l), Kind::Object(r)) => {
                Rc::make_mut(l).merge(r);
                Ok(self)
            }
            _ => Err(Error::math(self, jaq_core::ops::Math::Mul, other)),
        }
    }
}

fn repeat(text: &str, times: isize) -> Value {
    match usize::try_from(times) {
        Err(_) | Ok(0) => Kind::Null.into(),
        Ok(times) if text.len().saturating_mul(times) > TEXT => meter::stop(Limit::Text),
        Ok(times) => text.repeat(times).into(),
    }
}

impl std::ops::Div for Value {
    type Output = ValR;

    fn div(self, other: Self) -> ValR {
        if let Some(quotient) = calculate(&self.kind, &other.kind, |_, _| None, |l, r| l / r) {
            return Ok(quotient);
        }
        match (&self.kind, &other.kind) {
            (Kind::Text(l), Kind::Text(r)) => {
                let piece = |piece: &str| Kind::Text(Text::new(piece.to_owned()));
                Ok(match (l.is_empty(), r.is_empty()) {
                    (true, _) => Array::default(),
                    (_, true) => l.chars().map(|c| piece(c.encode_utf8(&mut [0; 4]))).collect(),
                    _ => l.split(&***r).map(piece).collect(),
                }
                .into())
            }
            _ => Err(Error::math(self, jaq_core::ops::Math::Div, other)),
        }
    }
}

impl std::ops::Rem for Value {
    type Output = ValR;

    fn rem(self, other: Self) -> ValR {
        let zero = matches!((&self.kind, &other.kind), (Kind::Int(_), Kind::Int(0)));
        match calculate(&self.kind, &other.kind, isize::checked_rem, |l, r| l % r) {
            Some(rest) if !zero => Ok(rest),
            _ => Err(Error::math(self, jaq_core::ops::Math::Rem, other)),
        }
    }
}

impl std::ops::Neg for Value {
    type Output = ValR;

    fn neg(self) -> ValR {
        match self.kind {
            Kind::Int(n) => Ok(n.checked_neg().map_or_else(|| Self::from(-(n as f64)), Self::from)),
            Kind::Float(_) | Kind::Number(_) => Ok(Self::from(-self.kind.number().unwrap_or(f64::NAN))),
            _ => Err(Error::typ(self, "number")),
        }
    }
}
