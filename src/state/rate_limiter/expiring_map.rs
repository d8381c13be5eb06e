//! A map of bounded size whose entries expire. An operation removes a few entries at most, and never walks over them.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::Instant,
};

/// Expired entries that are removed whenever one entry is put: more than one, so that they grow fewer.
const REMOVED_PER_PUT: usize = 2;

/// Entries by their key, and the keys in the order in which their entries expire.
pub(super) struct ExpiringMap<K, V> {
    entries: HashMap<K, Entry<V>>,
    by_expiry: BTreeSet<(Instant, K)>,
    capacity: usize,
}

struct Entry<V> {
    expiry: Instant,
    value: V,
}

impl<K: Clone + Eq + Hash + Ord, V> ExpiringMap<K, V> {
    /// An empty map that never holds more than `capacity` entries.
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), by_expiry: BTreeSet::new(), capacity }
    }

    /// The value of a key whose entry has not expired.
    pub(super) fn get(&self, now: Instant, key: &K) -> Option<&V> {
        self.entries.get(key).filter(|entry| entry.expiry > now).map(|entry| &entry.value)
    }

    /// Sets the value of a key. Its expiry never moves back. At capacity, the entry that expires first makes room.
    ///
    /// Returns the values of removed entries, so that a caller can drop what is large after it has released its lock.
    pub(super) fn put(&mut self, now: Instant, key: K, expiry: Instant, value: V) -> Vec<V> {
        let mut removed = self.remove_expired(now);
        let before = self.entries.remove(&key);
        if let Some(before) = &before {
            self.by_expiry.remove(&(before.expiry, key.clone()));
        } else if self.entries.len() >= self.capacity {
            removed.extend(self.remove_first());
        }
        let expiry = before.as_ref().map_or(expiry, |before| before.expiry.max(expiry));
        self.by_expiry.insert((expiry, key.clone()));
        self.entries.insert(key, Entry { expiry, value });
        removed
    }

    /// Removes the entry that expires first, unless `key` has an entry of its own.
    pub(super) fn make_room(&mut self, key: &K) {
        if !self.entries.contains_key(key) {
            self.remove_first();
        }
    }

    fn remove_expired(&mut self, now: Instant) -> Vec<V> {
        let mut removed = Vec::new();
        while removed.len() < REMOVED_PER_PUT
            && self.by_expiry.first().is_some_and(|(expiry, _)| *expiry <= now)
        {
            removed.extend(self.remove_first());
        }
        removed
    }

    fn remove_first(&mut self) -> Option<V> {
        let (_, key) = self.by_expiry.pop_first()?;
        self.entries.remove(&key).map(|entry| entry.value)
    }

    /// Number of entries, expired ones included.
    pub(super) fn len(&self) -> usize {
        debug_assert_eq!(self.entries.len(), self.by_expiry.len(), "each entry has one place in the order");
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_entry_is_there_until_it_expires_and_its_expiry_never_moves_back() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut map = ExpiringMap::new(10);
        map.put(now, 'a', at(5), 1);
        assert_eq!((map.get(at(4), &'a'), map.get(at(5), &'a'), map.get(now, &'b')), (Some(&1), None, None));
        map.put(now, 'a', at(2), 2);
        assert_eq!((map.get(at(4), &'a'), map.len()), (Some(&2), 1));
        map.put(at(6), 'a', at(9), 3);
        assert_eq!((map.get(at(8), &'a'), map.len()), (Some(&3), 1));
    }

    #[test]
    fn the_entry_that_expires_first_makes_room() {
        let now = Instant::now();
        let mut map = ExpiringMap::new(3);
        for (key, seconds) in [('a', 30), ('b', 10), ('c', 20), ('d', 5)] {
            map.put(now, key, now + Duration::from_secs(seconds), ());
            assert!(map.len() <= 3);
        }
        let kept = ['a', 'b', 'c', 'd'].map(|key| map.get(now, &key).is_some());
        assert_eq!(kept, [true, false, true, true]);
    }

    #[test]
    fn a_put_removes_a_few_expired_entries_and_a_few_puts_remove_all() {
        const MANY: u32 = 10_000;
        let now = Instant::now();
        let expiry = now + Duration::from_secs(1);
        let mut map = ExpiringMap::new(100_000);
        for key in 0..MANY {
            assert!(map.put(now, key, expiry, ()).is_empty());
        }
        let later = now + Duration::from_secs(2);
        let mut puts = 0;
        while map.len() > puts {
            let removed = map.put(later, MANY + puts as u32, later + Duration::from_secs(1), ());
            assert!(removed.len() <= REMOVED_PER_PUT);
            puts += 1;
        }
        assert_eq!(puts, MANY as usize / REMOVED_PER_PUT);
    }
}
