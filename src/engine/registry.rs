//! Compiled specifications, shared by everyone who needs one.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::HashMap;

use super::turn;
use crate::id::{SpecNumber, Time};
use crate::net::Workflow;

/// Bytes of a specification besides its nets.
const HEAD_BYTES: usize = 1_024;
/// Bytes of compiled nets for each byte of their tree.
const TREE_BYTES: usize = 2;

/// One registered version of a specification, compiled.
#[derive(Debug)]
pub struct Registered {
    /// Its number in this store.
    pub number: SpecNumber,
    /// Its version, from 1.
    pub version: u32,
    /// When it was registered.
    pub at: Time,
    /// Warnings, as said at registration.
    pub warnings: Vec<String>,
    /// BLAKE3 of its source text.
    pub source: [u8; 32],
    /// Bytes of memory that it takes, about.
    pub bytes: usize,
    /// Its nets.
    pub workflow: Arc<Workflow>,
}

impl Registered {
    /// Returns the bytes that compiled nets take, about, by the tree that they were compiled from.
    pub fn bytes_of(tree: &str) -> usize {
        HEAD_BYTES + tree.len() * TREE_BYTES
    }

    /// Returns what cases need to know of it.
    pub fn run(&self) -> turn::Registered {
        turn::Registered { number: self.number, version: self.version, workflow: Arc::clone(&self.workflow) }
    }
}

#[derive(Debug, Default)]
struct Inner {
    by_number: HashMap<SpecNumber, Arc<Registered>>,
    by_uri: BTreeMap<String, Vec<Arc<Registered>>>,
    bytes: usize,
}

/// All durable specifications. Readers hold the lock for a look-up only.
#[derive(Debug, Default)]
pub struct Registry(RwLock<Inner>);

impl Registry {
    /// Adds a version that is durable. Versions of one uri come in order.
    pub fn add(&self, registered: Arc<Registered>) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let versions = inner.by_uri.entry(registered.workflow.uri.clone()).or_default();
        if versions.last().is_none_or(|last| last.version < registered.version) {
            versions.push(Arc::clone(&registered));
        }
        inner.bytes += registered.bytes;
        if let Some(before) = inner.by_number.insert(registered.number, registered) {
            inner.bytes -= before.bytes;
        }
    }

    /// Returns the bytes of memory that all take, about.
    pub fn bytes(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// Returns the version of this number.
    pub fn get(&self, number: SpecNumber) -> Option<Arc<Registered>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).by_number.get(&number).cloned()
    }

    /// Finds `uri` (its newest version) or `uri@version`. A uri that holds an `@` itself is found first.
    pub fn find(&self, text: &str) -> Option<Arc<Registered>> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(versions) = inner.by_uri.get(text) {
            return versions.last().cloned();
        }
        let (uri, version) = text.rsplit_once('@')?;
        let version: u32 = version.parse().ok()?;
        inner.by_uri.get(uri)?.iter().find(|entry| entry.version == version).cloned()
    }

    /// Returns all versions of a uri.
    pub fn versions(&self, uri: &str) -> Vec<Arc<Registered>> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        inner.by_uri.get(uri).cloned().unwrap_or_default()
    }

    /// Returns the numbers of all versions that `uri` or `uri@version` names.
    pub fn numbers(&self, text: &str) -> Vec<SpecNumber> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(versions) = inner.by_uri.get(text) {
            return versions.iter().map(|entry| entry.number).collect();
        }
        drop(inner);
        self.find(text).map(|entry| entry.number).into_iter().collect()
    }

    /// Returns up to `limit` versions after (uri, version), in that order.
    pub fn list(&self, after: Option<&(String, u32)>, limit: usize) -> Vec<Arc<Registered>> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let from = after.map_or_else(String::new, |(uri, _)| uri.clone());
        inner
            .by_uri
            .range(from..)
            .flat_map(|(_, versions)| versions)
            .filter(|entry| {
                after.is_none_or(|(uri, version)| (&entry.workflow.uri, entry.version) > (uri, *version))
            })
            .take(limit)
            .cloned()
            .collect()
    }
}
