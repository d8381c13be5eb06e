//! The methods that this server serves. Only their names reach the log and the metrics.

use std::{collections::HashMap, sync::LazyLock};

use prost::Message as _;
use prost_types::FileDescriptorSet;

use super::v1;
use crate::state::running_calls::CallKind;

/// ext_authz: the question of a gateway.
pub(super) const CHECK: &str = "envoy.service.auth.v3.Authorization/Check";

/// A served method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Method {
    /// Its path, without the first slash.
    pub(super) name: &'static str,
    /// The kind of its calls.
    pub(super) kind: CallKind,
}

impl Method {
    /// Placeholder for methods that are not served.
    pub(super) const UNKNOWN: Self = Self { name: "unknown", kind: CallKind::Api };
    /// Placeholder for the method of a call with too much metadata.
    pub(super) const OVERSIZED: Self = Self { name: "oversized", kind: CallKind::Api };

    /// The method of a path.
    pub(super) fn of(path: &str) -> Self {
        let served = path.strip_prefix('/').and_then(|name| SERVED.get_key_value(name));
        served.map_or(Self::UNKNOWN, |(name, kind)| Self { name, kind: *kind })
    }

    pub(super) fn is_oversized(self) -> bool {
        self.name == Self::OVERSIZED.name
    }

    pub(super) fn is_check(self) -> bool {
        self.name == CHECK
    }

    /// True for the methods of `countersign.v1`.
    pub(super) fn is_of_the_api(self) -> bool {
        self.name.starts_with("countersign.")
    }
}

/// From the descriptors of the services on the gRPC port; ext_authz' messages come without descriptors.
static SERVED: LazyLock<HashMap<String, CallKind>> = LazyLock::new(|| {
    let descriptors = [
        v1::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let sets = descriptors.into_iter().filter_map(|bytes| FileDescriptorSet::decode(bytes).ok());
    let names = sets.flat_map(methods).chain([CHECK.to_owned()]);
    names.map(|name| (name.clone(), kind(&name))).collect()
});

fn methods(set: FileDescriptorSet) -> impl Iterator<Item = String> {
    set.file.into_iter().flat_map(|file| {
        let package = file.package().to_owned();
        file.service.into_iter().flat_map(move |service| {
            let service_name = format!("{package}.{}", service.name());
            service.method.into_iter().map(move |method| format!("{service_name}/{}", method.name()))
        })
    })
}

fn kind(name: &str) -> CallKind {
    match name {
        CHECK => CallKind::Probe,
        "countersign.v1.TokenService/WatchRevocations" => CallKind::RevocationWatch,
        "grpc.health.v1.Health/Watch" => CallKind::HealthWatch,
        name if name.starts_with("grpc.health.") => CallKind::Probe,
        name if name.starts_with("grpc.reflection.") => CallKind::Reflection,
        _ => CallKind::Api,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn served_methods_are_known_with_their_kind() {
        for (path, kind) in [
            ("/countersign.v1.TokenService/WatchRevocations", CallKind::RevocationWatch),
            ("/countersign.v1.ClientService/CreateClient", CallKind::Api),
            ("/envoy.service.auth.v3.Authorization/Check", CallKind::Probe),
            ("/grpc.health.v1.Health/Check", CallKind::Probe),
            ("/grpc.health.v1.Health/Watch", CallKind::HealthWatch),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", CallKind::Reflection),
            ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", CallKind::Reflection),
        ] {
            assert_eq!(Method::of(path), Method { name: &path[1..], kind });
        }
        assert_eq!(SERVED.len(), 23 + 1 + 2 + 2, "{:?}", SERVED.keys());
    }

    #[test]
    fn any_other_path_is_unknown() {
        for path in
            ["", "/", "/x", "countersign.v1.TokenService/GetJwks", "/countersign.v1.TokenService/getjwks"]
        {
            assert_eq!(Method::of(path), Method::UNKNOWN, "{path}");
        }
    }
}
