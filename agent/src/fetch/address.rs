//! Which addresses a download may go to. A name is resolved once, and the connection goes to what was looked at: what a name
//! means a moment later cannot lead elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses beyond link-local ones at which clouds answer whoever runs on a machine with what that machine may know.
const METADATA: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
/// The same of version 6, by how they begin: Amazon's, Google's, Oracle's, Scaleway's, Akamai's, Alibaba's.
const METADATA_6: [&[u16]; 6] = [
    &[0xfd00, 0xec2],
    &[0xfd20, 0xce],
    &[0xfd00, 0xc1],
    &[0xfd00, 0x42],
    &[0xfd00, 0xa9fe],
    &[0xfd00, 0x100],
];

/// Why nothing is fetched from an address; nothing when it may be. The end of a sentence that begins with the address.
pub(super) fn refusal(address: IpAddr, allow_local: bool) -> Option<&'static str> {
    let local = |is_local: bool, why| (is_local && !allow_local).then_some(why);
    match plain(address) {
        IpAddr::V4(v4) => {
            let [first, ..] = v4.octets();
            let is_nobody = first == 0 || first >= 224;
            is_nobody
                .then_some("is nobody's address")
                .or(local(v4.is_loopback(), "is this host"))
                .or(local(v4.is_link_local(), "is link-local"))
                .or(local(METADATA.contains(&v4), "is a metadata service"))
        }
        IpAddr::V6(v6) => {
            let is_nobody = v6.is_unspecified() || v6.is_multicast();
            is_nobody
                .then_some("is nobody's address")
                .or(local(v6.is_loopback(), "is this host"))
                .or(local(v6.is_unicast_link_local(), "is link-local"))
                .or(local(is_metadata(v6), "is a metadata service"))
        }
    }
}

fn is_metadata(v6: Ipv6Addr) -> bool {
    METADATA_6
        .iter()
        .any(|begin| v6.segments().starts_with(begin))
}

/// The address that one of version 6 leads to, where it stands for one of version 4: mapped, compatible, translated
/// (64:ff9b::/96, 64:ff9b:1::/48), or through 6to4.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let [a, b, c, d, e, f, high, low] = v6.segments();
    let four = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff)
        | (0, 0, 0, 0, 0xffff, 0)
        | (0x64, 0xff9b, 0, 0, 0, 0)
        | (0x64, 0xff9b, 1, ..) => four(high, low),
        (0, 0, 0, 0, 0, 0) if high != 0 || low > 1 => four(high, low),
        (0x2002, high, low, ..) => four(high, low),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_this_host_or_its_link_is_refused_however_it_is_written() {
        for text in [
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:42::42",
            "64:ff9b:1::7f00:1",
            "::ffff:0:127.0.0.1",
        ] {
            let address = text.parse().expect("an address");
            assert!(refusal(address, false).is_some(), "{text}");
            assert!(refusal(address, true).is_none(), "{text}");
        }
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "ff02::1",
            "::ffff:0.0.0.0",
        ] {
            let address = text.parse().expect("an address");
            assert!(refusal(address, true).is_some(), "{text}");
        }
        for text in [
            "10.0.0.1",
            "192.168.1.1",
            "93.184.216.34",
            "2606:2800::1",
            "fd12::1",
            "64:ff9b::a00:1",
        ] {
            let address = text.parse().expect("an address");
            assert_eq!(refusal(address, false), None, "{text}");
        }
    }
}
