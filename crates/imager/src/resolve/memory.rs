//! What is remembered of things that never change.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use crate::Error;

/// Values by keys that decide them. A clone is the same memory.
pub(crate) struct Memory<K, V> {
    values: Arc<Mutex<HashMap<K, Arc<V>>>>,
    count_max: usize,
}

/// How many values are kept: every extension of a hundred versions. Beyond it, all are learnt anew.
const COUNT_MAX: usize = 10_000;

impl<K, V> Memory<K, V> {
    /// A memory of at most `count_max` values.
    pub fn of(count_max: usize) -> Self {
        Self { values: Arc::default(), count_max }
    }
}

impl<K: Eq + Hash, V> Memory<K, V> {
    /// The value of `key`; `learn` finds it when it is not known. Failures are not remembered. Two who ask at
    /// once may both learn: what is costly is single flight in the store.
    pub fn get(&self, key: K, learn: impl FnOnce() -> Result<V, Error>) -> Result<Arc<V>, Error> {
        if let Some(value) = self.locked().get(&key) {
            return Ok(Arc::clone(value));
        }
        let value = Arc::new(learn()?);
        let mut values = self.locked();
        let forgotten = (values.len() >= self.count_max).then(|| std::mem::take(&mut *values));
        values.insert(key, Arc::clone(&value));
        drop(values);
        // Dropping takes long, and nobody is to wait for it.
        drop(forgotten);
        Ok(value)
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let forgotten = std::mem::take(&mut *self.locked());
        drop(forgotten);
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<K, Arc<V>>> {
        // Nothing that can panic happens under the lock.
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Clone for Memory<K, V> {
    fn clone(&self) -> Self {
        Self { values: Arc::clone(&self.values), count_max: self.count_max }
    }
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self::of(COUNT_MAX)
    }
}

impl<K, V> fmt::Debug for Memory<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_learnt_once_and_a_failure_is_not_remembered() {
        let memory = Memory::default();
        let failed = memory.get(1, || Err(Error::Missing { what: "it" }));
        assert!(failed.is_err());
        assert_eq!(*memory.get(1, || Ok("a")).unwrap(), "a");
        assert_eq!(*memory.get(1, || Ok("b")).unwrap(), "a");
        memory.clear();
        assert_eq!(*memory.get(1, || Ok("b")).unwrap(), "b");
    }
}
