//! Sorting with one copy of the algorithm for all types. The standard library's is compiled for each, at some five kilobytes, which
//! a small binary notices; for what is sorted once in a while, this is as good.

use std::cmp::Ordering;

/// Sorts as [`slice::sort_by`] does: what is equal keeps its order.
pub fn sort_by<T>(list: &mut Vec<T>, mut by: impl FnMut(&T, &T) -> Ordering) {
    let mut order: Vec<usize> = (0..list.len()).collect();
    let all = &*list;
    arrange(&mut order, &mut |one, other| all.get(one).zip(all.get(other)).map_or(Ordering::Equal, |(a, b)| by(a, b)));
    let mut old: Vec<Option<T>> = list.drain(..).map(Some).collect();
    list.extend(order.into_iter().filter_map(|place| old.get_mut(place)?.take()));
}

/// Sorts by a key, as [`slice::sort_by_key`] does.
pub fn sort_by_key<T, K: Ord>(list: &mut Vec<T>, mut key: impl FnMut(&T) -> K) {
    sort_by(list, |one, other| key(one).cmp(&key(other)));
}

fn arrange(order: &mut [usize], by: &mut dyn FnMut(usize, usize) -> Ordering) {
    order.sort_by(|one, other| by(*one, *other));
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_standard_order() {
        for count in [0, 1, 2, 100] {
            let list: Vec<(usize, usize)> = (0..count).map(|place| (place * 7919 % 13, place)).collect();
            let (mut own, mut standard) = (list.clone(), list);
            super::sort_by_key(&mut own, |(key, _)| std::cmp::Reverse(*key));
            standard.sort_by_key(|(key, _)| std::cmp::Reverse(*key));
            assert_eq!(own, standard);
        }
    }
}
