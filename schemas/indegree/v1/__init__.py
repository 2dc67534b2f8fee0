"""The contract, generated from the .proto files beside this file by `./dev proto`."""
