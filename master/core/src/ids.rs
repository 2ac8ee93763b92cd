//! The ids and numbers that the master gives. Offer ids cannot be guessed: they are a keyed pseudo-random function of a
//! counter, so the core stays deterministic and needs no source of randomness beyond its seed.

use proffer_model::{
    AgentId, ClusterId, Epoch, FrameworkId, Generation, Incarnation, OfferId, Problem,
};

use crate::limits::ID_HEAD_LEN_MAX;

/// Gives ids; each at most once within a term.
#[derive(Debug)]
pub(crate) struct Ids {
    head: String,
    epoch: Epoch,
    keys: [[u64; 2]; 2],
    offers: u64,
    agents: u64,
    frameworks: u64,
    generations: u64,
    launches: u32,
}

impl Ids {
    pub(crate) fn new(cluster: &ClusterId, epoch: Epoch, seed: [u8; 32]) -> Self {
        let mut words = seed.chunks_exact(8).map(|chunk| {
            chunk
                .iter()
                .rev()
                .fold(0u64, |word, byte| (word << 8) | u64::from(*byte))
        });
        let mut word = || words.next().unwrap_or(0);
        let keys = [[word(), word()], [word(), word()]];
        let mut cut = cluster.as_str().len().min(ID_HEAD_LEN_MAX);
        while !cluster.as_str().is_char_boundary(cut) {
            cut -= 1;
        }
        let head = cluster.as_str().get(..cut).unwrap_or_default().to_owned();
        Self {
            head,
            epoch,
            keys,
            offers: 0,
            agents: 0,
            frameworks: 0,
            generations: 0,
            launches: 0,
        }
    }

    /// 128 bits that cannot be guessed without the seed.
    pub(crate) fn offer(&mut self) -> OfferId {
        self.offers += 1;
        let [first, second] = self.keys.map(|key| siphash(key, self.offers));
        valid(OfferId::new(&format!("{first:016x}{second:016x}")))
    }

    /// `<cluster>-a<epoch>-<n>`.
    pub(crate) fn agent(&mut self) -> AgentId {
        self.agents += 1;
        let (head, epoch, n) = (&self.head, self.epoch, self.agents);
        valid(AgentId::new(&format!("{head}-a{epoch}-{n}")))
    }

    /// `<cluster>-f<epoch>-<n>`.
    pub(crate) fn framework(&mut self) -> FrameworkId {
        self.frameworks += 1;
        let (head, epoch, n) = (&self.head, self.epoch, self.frameworks);
        valid(FrameworkId::new(&format!("{head}-f{epoch}-{n}")))
    }

    /// Greater than every generation given before, in this term and in earlier ones.
    pub(crate) fn generation(&mut self) -> Generation {
        self.generations += 1;
        Generation((self.epoch.0 << 32) | self.generations)
    }

    /// Whether there are so many incarnations left.
    pub(crate) fn may_launch(&self, count: usize) -> bool {
        u32::try_from(count).is_ok_and(|count| self.launches.checked_add(count).is_some())
    }

    /// Greater than every incarnation given before; none when a term has launched 2³² tasks.
    pub(crate) fn incarnation(&mut self) -> Option<Incarnation> {
        self.launches = self.launches.checked_add(1)?;
        Some(Incarnation::of(self.epoch, self.launches))
    }
}

/// Whether an id is of the shape that masters give to frameworks, of whichever cluster and term: nobody else may choose it.
pub(crate) fn is_given(framework: &FrameworkId) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mut parts = framework.as_str().rsplitn(3, '-');
    let (count, epoch) = (parts.next(), parts.next());
    let epoch = epoch.and_then(|epoch| epoch.strip_prefix('f'));
    count.is_some_and(is_number) && epoch.is_some_and(is_number)
}

#[expect(
    clippy::expect_used,
    reason = "made of a valid id's head, letters and digits, and shorter than the limit"
)]
fn valid<T>(id: Result<T, Problem>) -> T {
    id.expect("ids given by the master are valid")
}

/// SipHash-2-4 of the eight bytes of one number (Aumasson and Bernstein, 2012), a pseudo-random function of its key.
fn siphash(key: [u64; 2], number: u64) -> u64 {
    const LENGTH_BLOCK: u64 = 8 << 56;
    let [k0, k1] = key;
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    for block in [number, LENGTH_BLOCK] {
        v[3] ^= block;
        v = sip_round(sip_round(v));
        v[0] ^= block;
    }
    v[2] ^= 0xff;
    v = sip_round(sip_round(sip_round(sip_round(v))));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn sip_round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siphash_is_the_published_one() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(siphash(key, 0x0706_0504_0302_0100), 0x93f5_f579_9a93_2462);
    }

    #[test]
    fn offer_ids_cannot_be_guessed() {
        let cluster = ClusterId::new("c").expect("an id");
        let given = |seed: u8, epoch: u64| -> Vec<u128> {
            let seed = std::array::from_fn(|i| seed.wrapping_add(u8::try_from(i).unwrap_or(0)));
            let mut ids = Ids::new(&cluster, Epoch(epoch), seed);
            let number = |id: OfferId| {
                assert_eq!(id.as_str().len(), 32, "{id}");
                assert!(!id.as_str().contains(|c: char| c.is_ascii_uppercase()));
                u128::from_str_radix(id.as_str(), 16).expect("hex digits")
            };
            (0..100).map(|_| number(ids.offer())).collect()
        };
        let all = given(3, 7);
        assert_eq!(given(3, 7), all, "of one seed always the same");
        assert!(all.iter().all(|id| id >> 64 != id & u128::from(u64::MAX)));
        let others: std::collections::BTreeSet<u128> = given(4, 7).into_iter().collect();
        assert!(!all.iter().any(|id| others.contains(id)), "of another none");
        let steps = |all: &[u128]| -> std::collections::BTreeSet<u128> {
            let pairs = all.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
            pairs.collect()
        };
        assert_eq!(steps(&all).len(), all.len() - 1, "no two steps are alike");
        // Each half of each id differs from that of the one before in about half of its 64 bits; a counter's in few.
        for pair in all.windows(2) {
            let differing = pair[0] ^ pair[1];
            for half in [differing >> 64, differing & u128::from(u64::MAX)] {
                let bits = half.count_ones();
                assert!((12..=52).contains(&bits), "{bits} bits of {pair:x?}");
            }
        }
    }

    #[test]
    fn ids_are_unique_and_valid_however_long_the_cluster_is() {
        let cluster = ClusterId::new(&"ä".repeat(100)).expect("an id");
        let mut ids = Ids::new(&cluster, Epoch(7), [3; 32]);
        assert!(ids.agent().as_str().ends_with("-a7-1"));
        let given = ids.framework();
        assert!(given.as_str().ends_with("-f7-1"));
        assert!(is_given(&given));
        for chosen in ["my-batch", "my-f-1", "f7", "f7-", "a-f7-1b", "x-7-1"] {
            assert!(!is_given(&chosen.parse().expect(chosen)), "{chosen}");
        }
        assert!(ids.generation() < ids.generation());
        assert!(
            Ids::new(&cluster, Epoch(8), [3; 32]).generation() > ids.generation(),
            "a later term's generations are greater"
        );
    }
}
