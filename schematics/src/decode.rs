//! From nodes to typed values, by the reference's rules.
//!
//! Strings take any scalar and keep its source text (`1.50`, `0x10`, `true`, a date); null leaves a field as it was and
//! drops out of a list. Numbers take integral floats, booleans the words of YAML 1.1. Aliases and merge keys are
//! followed where they stand, against a budget; nothing is copied before it has a place in the result.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::document::{Document, Kind, Node, NodeId, Tag};
use crate::error::{Error, Place, excerpt, nearest};
use crate::resolve::Resolved;
use crate::scalar;
use crate::text::Text;
use crate::typed::{is_missing, is_null, source, typed, typed_text, whole, wrong};
use crate::value::{Scalar, Value};
use crate::{MAX_ALIASED_LEN, MAX_DEPTH};

/// Walks a document.
pub(crate) struct Decoder<'d> {
    document: &'d Document,
    /// The anchored nodes that are being expanded, outermost first.
    expanding: Vec<NodeId>,
    depth: usize,
    aliased_len: usize,
}

/// A mapping whose keys are known, for messages and suggestions.
pub(crate) struct Fields {
    /// What an error calls the mapping.
    pub parent: &'static str,
    /// Its keys.
    pub names: &'static [&'static str],
}

impl<'d> Decoder<'d> {
    pub(crate) fn new(document: &'d Document) -> Self {
        Self { document, expanding: Vec::new(), depth: 0, aliased_len: 0 }
    }

    /// Calls `set` with the position in `fields` and the value of each key of a mapping. Null has no keys.
    pub(crate) fn fields(
        &mut self,
        id: NodeId,
        fields: &Fields,
        set: &mut dyn FnMut(&mut Self, usize, NodeId) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.enter(id, |this, node| {
            if is_null(node)? {
                return Ok(());
            }
            this.entries(node, &mut HashSet::new(), false, &mut |this, key, value| {
                let name = this.text(key)?.unwrap_or_default();
                match fields.names.iter().position(|known| name == *known) {
                    Some(index) => set(this, index, value),
                    None => Err(Error::UnknownField {
                        place: this.document.node(key).place,
                        field: if name.is_empty() {
                            source(this.document.node(key))
                        } else {
                            excerpt(&name.to_string())
                        },
                        parent: fields.parent,
                        nearest: nearest(&name.to_string(), fields.names),
                    }),
                }
            })
        })
    }

    /// The items of a list, nulls left out.
    pub(crate) fn list<T>(
        &mut self,
        id: NodeId,
        item: fn(&mut Self, NodeId) -> Result<Option<T>, Error>,
    ) -> Result<Vec<T>, Error> {
        self.enter(id, |this, node| {
            if is_null(node)? {
                return Ok(Vec::new());
            }
            let Kind::Sequence(items) = &node.kind else {
                return Err(wrong(node, "a list"));
            };
            items.iter().filter_map(|id| item(this, *id).transpose()).collect()
        })
    }

    /// Where a value stands.
    pub(crate) fn place(&self, id: NodeId) -> Place {
        self.document.node(id).place
    }

    /// Whether the value is null.
    pub(crate) fn null(&mut self, id: NodeId) -> Result<bool, Error> {
        self.enter(id, |_, node| is_null(node))
    }

    /// A string; `None` is null.
    pub(crate) fn text(&mut self, id: NodeId) -> Result<Option<Text>, Error> {
        self.enter(id, |_, node| match typed_text(node)? {
            None => Err(wrong(node, "a string")),
            Some((Resolved::Null, _)) => Ok(None),
            Some((_, text)) => Ok(Some(text)),
        })
    }

    /// A boolean; `None` is null.
    pub(crate) fn boolean(&mut self, id: NodeId) -> Result<Option<bool>, Error> {
        self.enter(id, |_, node| {
            let wrong = || wrong(node, "`true` or `false`, unquoted");
            match typed_text(node)? {
                Some((Resolved::Null, _)) => Ok(None),
                Some((Resolved::Bool(value), _)) => Ok(Some(value)),
                Some((Resolved::Text, text)) if matches!(node.tag, Tag::Absent | Tag::Str) => {
                    match text.as_str() {
                        Ok("y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON") => Ok(Some(true)),
                        Ok("n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF") => Ok(Some(false)),
                        _ => Err(wrong()),
                    }
                }
                _ => Err(wrong()),
            }
        })
    }

    /// A whole number from 0 to `max`, the largest `T`; `None` is null.
    pub(crate) fn unsigned<T: TryFrom<u64>>(&mut self, id: NodeId, max: u64) -> Result<Option<T>, Error> {
        self.enter(id, |_, node| {
            let number = match typed_text(node)? {
                Some((Resolved::Null, _)) => return Ok(None),
                Some((Resolved::Integer(number), _)) => u64::try_from(number.get()).ok(),
                Some((Resolved::Float(number), _)) => whole(number),
                _ => return Err(wrong(node, "a whole number, unquoted")),
            };
            let number = number.and_then(|number| T::try_from(number).ok());
            let wrong = || Error::OutOfRange { place: node.place, number: source(node), max };
            number.map(Some).ok_or_else(wrong)
        })
    }

    /// A mapping with string keys to anything. Null and null keys leave no trace.
    pub(crate) fn options(&mut self, id: NodeId) -> Result<BTreeMap<Text, Value>, Error> {
        self.enter(id, |this, node| {
            let (mut options, mut names) = (BTreeMap::new(), Names::default());
            if is_null(node)? {
                return Ok(options);
            }
            this.entries(node, &mut HashSet::new(), false, &mut |this, key, value| {
                let place = this.place(key);
                if let Some(key) = this.text(key)?
                    && let Some(value) = this.value(value)?
                {
                    names.refuse_twins(&Scalar::Text(key.clone()), place)?;
                    options.insert(key, value);
                }
                Ok(())
            })?;
            Ok(options)
        })
    }

    /// Anything; `None` is a `<<` where a value should be, which the reference lets fall.
    fn value(&mut self, id: NodeId) -> Result<Option<Value>, Error> {
        self.enter(id, |this, node| match &node.kind {
            Kind::Sequence(items) => {
                let items = items.iter().filter_map(|id| this.value(*id).transpose());
                Ok(Some(Value::Sequence(items.collect::<Result<_, _>>()?)))
            }
            Kind::Mapping(entries) => {
                let strings = this.only_string_keys(entries)?;
                let (mut mapping, mut names) = (BTreeMap::new(), Names::default());
                this.entries(node, &mut HashSet::new(), false, &mut |this, key, value| {
                    let place = this.place(key);
                    let key = if strings { this.text(key)?.map(Scalar::Text) } else { this.key(key)? };
                    if let Some(key) = key
                        && let Some(value) = this.value(value)?
                    {
                        names.refuse_twins(&key, place)?;
                        mapping.insert(key, value);
                    }
                    Ok(())
                })?;
                Ok(Some(Value::Mapping(mapping)))
            }
            Kind::Scalar { .. } | Kind::Alias(_) => Ok(typed(node)?.map(Value::Scalar)),
        })
    }

    fn key(&mut self, id: NodeId) -> Result<Option<Scalar>, Error> {
        self.enter(id, |_, node| typed(node))
    }

    /// Go keeps a mapping whose own keys are all strings apart from others: in it, merged keys become strings too.
    fn only_string_keys(&mut self, entries: &[(NodeId, NodeId)]) -> Result<bool, Error> {
        for (key, _) in entries {
            let string = self.enter(*key, |_, node| {
                Ok(node.tag != Tag::Foreign
                    && node.tag != Tag::Binary
                    && matches!(typed_text(node)?, Some((Resolved::Text | Resolved::Merge, _))))
            })?;
            if !string {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Calls `each` with the key and value of every entry of the mapping `node`: its own, then the merged ones whose
    /// keys are not in `taken`.
    fn entries(
        &mut self,
        node: &Node,
        taken: &mut HashSet<Vec<u8>>,
        merged: bool,
        each: &mut dyn FnMut(&mut Self, NodeId, NodeId) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Kind::Mapping(entries) = &node.kind else {
            return Err(wrong(node, "a mapping"));
        };
        self.refuse_duplicates(entries)?;
        let mut merge = None;
        for (key, value) in entries {
            let (merges, name) = self.enter(*key, |_, node| match typed_text(node)? {
                _ if is_missing(node) => Err(Error::MissingKey { place: node.place }),
                None => Err(Error::ComplexKey { place: node.place }),
                Some((resolved, text)) => Ok((resolved == Resolved::Merge, text)),
            })?;
            if merges && !matches!(self.document.node(*key).kind, Kind::Alias(_)) {
                merge = Some(*value);
            } else if taken.insert(name.as_bytes().to_vec()) || !merged {
                each(self, *key, *value)?;
            }
        }
        match merge {
            Some(merge) => self.merge(merge, taken, true, each),
            None => Ok(()),
        }
    }

    fn merge(
        &mut self,
        id: NodeId,
        taken: &mut HashSet<Vec<u8>>,
        lists: bool,
        each: &mut dyn FnMut(&mut Self, NodeId, NodeId) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // A list of mappings is a list here, not an alias of one.
        let lists = lists && !matches!(self.document.node(id).kind, Kind::Alias(_));
        self.enter(id, |this, node| match &node.kind {
            Kind::Mapping(_) => this.entries(node, taken, true, each),
            Kind::Sequence(items) if lists => {
                items.iter().try_for_each(|id| this.merge(*id, taken, false, each))
            }
            _ => Err(Error::WrongMerge { place: node.place }),
        })
    }

    /// Keys are the same when their source text is, whatever their types: `1` and `"1"`.
    fn refuse_duplicates(&mut self, entries: &[(NodeId, NodeId)]) -> Result<(), Error> {
        let mut lines: HashMap<&str, usize> = HashMap::new();
        for (key, _) in entries {
            let node = self.document.node(*key);
            if let Kind::Scalar { text, .. } = &node.kind
                && let Some(first) = lines.insert(text, node.place.line)
            {
                return Err(Error::DuplicateKey { place: node.place, key: excerpt(text), first });
            }
        }
        Ok(())
    }

    /// Follows an alias, and keeps count of the depth and of what aliases add.
    fn enter<T>(
        &mut self,
        id: NodeId,
        read: impl FnOnce(&mut Self, &'d Node) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let document = self.document;
        let (place, target) = match document.node(id) {
            Node { kind: Kind::Alias(target), place, .. } => (*place, Some(*target)),
            Node { place, .. } => (*place, None),
        };
        if self.depth > MAX_DEPTH {
            return Err(Error::TooDeep { place, max: MAX_DEPTH });
        }
        if let Some(target) = target {
            if self.expanding.contains(&target) {
                return Err(Error::AliasLoop { place });
            }
            self.expanding.push(target);
        }
        let node = document.node(target.unwrap_or(id));
        self.spend(node, place)?;
        self.depth += 1;
        let result = read(self, node);
        self.depth -= 1;
        if target.is_some() {
            self.expanding.pop();
        }
        result
    }

    fn spend(&mut self, node: &Node, place: Place) -> Result<(), Error> {
        if self.expanding.is_empty() {
            return Ok(());
        }
        self.aliased_len += match &node.kind {
            Kind::Scalar { text, .. } => 1 + text.len(),
            _ => 1,
        };
        if self.aliased_len > MAX_ALIASED_LEN {
            return Err(Error::AliasBomb { place, max: MAX_ALIASED_LEN });
        }
        Ok(())
    }
}

/// The keys of a mapping as they will be written, without quotes and tags.
#[derive(Default)]
struct Names(HashMap<String, (Scalar, Place)>);

impl Names {
    /// Keys that differ here may not differ where duplicates are looked for: `0x10` and `"16"`. The canonical form
    /// would be refused.
    fn refuse_twins(&mut self, key: &Scalar, place: Place) -> Result<(), Error> {
        let name = scalar::name(key);
        match self.0.insert(name.clone(), (key.clone(), place)) {
            Some((twin, first)) if twin != *key => {
                Err(Error::DuplicateKey { place, key: excerpt(&name), first: first.line })
            }
            _ => Ok(()),
        }
    }
}
