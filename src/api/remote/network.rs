//! Networks: which addresses count as one, and which are exempt from the bound on one.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// IPv6 networks hand out whole /64s, so one client may use all of its addresses.
const V6_BITS: u8 = 64;

/// Addresses with the same first bits. An IPv4 address within an IPv6 one is the IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

impl Network {
    /// Returns the addresses that count as one with this one: an IPv4 address alone, of IPv6 all that share 64 bits.
    pub fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self::with(address, if address.is_ipv4() { 32 } else { V6_BITS })
    }

    fn with(address: IpAddr, bits: u8) -> Self {
        let first = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                IpAddr::from((u32::from(address) & mask).to_be_bytes())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(address) & mask))
            }
        };
        Self { first, bits }
    }

    /// Returns its first address.
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// Returns whether an address is one of these.
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && Self::with(address, self.bits) == self
    }
}

impl FromStr for Network {
    type Err = String;

    /// Reads an address, or the first address of a network and its number of bits: `192.0.2.7`, `2001:db8::/32`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(one, other)| (one, Some(other)));
        let wrong = || format!("{text:?} is no address, nor one with a number of bits such as 192.0.2.0/24");
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        if address != address.to_canonical() {
            return Err(format!("{text:?} is an IPv4 address within an IPv6 one; write the IPv4 address"));
        }
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits: u8 = bits.map_or(Ok(bits_max), str::parse).map_err(|_| wrong())?;
        if bits > bits_max {
            return Err(wrong());
        }
        let network = Self::with(address, bits);
        if network.first != address {
            return Err(format!(
                "{text:?} names an address within a network; write {}/{bits}",
                network.first
            ));
        }
        Ok(network)
    }
}
