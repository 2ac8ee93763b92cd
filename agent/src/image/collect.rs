//! Deciding which images and layers go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use super::digest::Digest;

/// An image that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) id: Digest,
    /// When it was last loaded.
    pub(super) used: SystemTime,
    /// Each once.
    pub(super) layers: BTreeSet<Digest>,
}

/// What goes.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Plan {
    pub(super) images: Vec<Digest>,
    pub(super) layers: Vec<Digest>,
}

/// As long as the layers are larger than this: first layers that no image has, then images that need not be kept, in this
/// order, with the layers that only they have.
pub(super) fn plan(
    images: &[Kept],
    sizes: &BTreeMap<Digest, u64>,
    kept: &BTreeSet<Digest>,
    kept_layers: &BTreeSet<Digest>,
    len_max: u64,
) -> Plan {
    let mut plan = Plan::default();
    let mut total: u64 = sizes.values().sum();
    let mut needed: BTreeMap<Digest, usize> = BTreeMap::new();
    for layer in images
        .iter()
        .flat_map(|image| &image.layers)
        .chain(kept_layers)
    {
        *needed.entry(*layer).or_default() += 1;
    }
    let mut remove = |layer: &Digest, total: &mut u64| {
        if let Some(size) = sizes.get(layer) {
            plan.layers.push(*layer);
            *total = total.saturating_sub(*size);
        }
    };
    if total > len_max {
        for layer in sizes.keys().filter(|layer| !needed.contains_key(layer)) {
            remove(layer, &mut total);
        }
    }
    for image in images.iter().filter(|image| !kept.contains(&image.id)) {
        if total <= len_max {
            break;
        }
        plan.images.push(image.id);
        for layer in &image.layers {
            let count = needed.entry(*layer).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                remove(layer, &mut total);
            }
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    /// Images in the order of their use, each `name:layer,layer`; every layer has 10 bytes.
    fn check(
        images: &[&str],
        orphans: &[&str],
        kept: &[&str],
        len_max: u64,
        gone: (&[&str], &[&str]),
    ) {
        let mut sizes: BTreeMap<Digest, u64> = BTreeMap::new();
        sizes.extend(orphans.iter().map(|name| (digest(name), 10)));
        let images: Vec<Kept> = (0..)
            .zip(images)
            .map(|(at, image)| {
                let (name, layers) = image.split_once(':').unwrap();
                let layers: BTreeSet<Digest> = layers.split(',').map(digest).collect();
                sizes.extend(layers.iter().map(|layer| (*layer, 10)));
                Kept {
                    id: digest(name),
                    used: SystemTime::UNIX_EPOCH + Duration::from_secs(at),
                    layers,
                }
            })
            .collect();
        let all = |names: &[&str]| names.iter().map(|name| digest(name)).collect();
        let mut plan = plan(&images, &sizes, &all(kept), &BTreeSet::new(), len_max);
        plan.layers.sort();
        let layers: BTreeSet<Digest> = all(gone.1);
        let images: BTreeSet<Digest> = all(gone.0);
        assert_eq!(plan.images.iter().copied().collect::<BTreeSet<_>>(), images);
        assert_eq!(plan.layers, layers.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn the_least_recently_used_go_and_shared_layers_stay() {
        let images = ["a:1,2", "b:1,3", "c:1,4"];
        check(&images, &[], &[], 40, (&[], &[]));
        check(&images, &[], &[], 39, (&["a"], &["2"]));
        check(&images, &[], &[], 20, (&["a", "b"], &["2", "3"]));
        check(
            &images,
            &[],
            &[],
            0,
            (&["a", "b", "c"], &["1", "2", "3", "4"]),
        );
    }

    #[test]
    fn what_is_kept_stays_however_large_it_is() {
        let images = ["a:1,2", "b:1,3", "c:1,4"];
        check(&images, &[], &["a"], 39, (&["b"], &["3"]));
        check(&images, &[], &["a", "b", "c"], 0, (&[], &[]));
    }

    #[test]
    fn layers_of_no_image_go_first_but_only_when_room_is_wanted() {
        let images = ["a:1,2", "b:1,3"];
        check(&images, &["x", "y"], &[], 50, (&[], &[]));
        check(&images, &["x", "y"], &[], 30, (&[], &["x", "y"]));
        check(&images, &["x", "y"], &[], 29, (&["a"], &["x", "y", "2"]));
    }
}
