//! Messages of the push stream `weir.push.v1`, generated from `proto/push.proto`.
