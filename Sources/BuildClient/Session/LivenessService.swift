internal import BuildKitProtocol
internal import GRPCCore
internal import GRPCProtobuf

/// Tells the node that the session is alive (`grpc.health.v1.Health/Check`).
struct LivenessService: RegistrableRPCService {
    func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
        router.registerHandler(
            forMethod: Grpc_Health_V1_Health.Method.Check.descriptor,
            deserializer: ProtobufDeserializer<Grpc_Health_V1_HealthCheckRequest>(),
            serializer: ProtobufSerializer<Grpc_Health_V1_HealthCheckResponse>()
        ) { _, _ in
            var response = Grpc_Health_V1_HealthCheckResponse()
            response.status = .serving
            return StreamingServerResponse(single: ServerResponse(message: response))
        }
    }
}
