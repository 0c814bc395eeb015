// Unity's own compiled communicator as the client of a trainer: a corridor as in tests/fake_unity.py.
//   unity_client.exe ASSEMBLIES PORT
// gRPC's native library is not among the assemblies, so calls go over TCP to a relay (tests/unity_relay.py): four bytes
// of length and the message, and the same back.
using System;
using System.Collections;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Net.Sockets;
using System.Reflection;
using System.Runtime.Serialization;
using Grpc.Core;
using Unity.MLAgents;
using Unity.MLAgents.SideChannels;

class Relay : CallInvoker
{
    readonly NetworkStream stream;

    public Relay(int port) { stream = new TcpClient("127.0.0.1", port).GetStream(); }

    public override TResponse BlockingUnaryCall<TRequest, TResponse>(Method<TRequest, TResponse> method, string host,
        CallOptions options, TRequest request)
    {
        var data = method.RequestMarshaller.Serializer(request);
        stream.Write(BitConverter.GetBytes(data.Length), 0, 4);
        stream.Write(data, 0, data.Length);
        return method.ResponseMarshaller.Deserializer(Read(BitConverter.ToInt32(Read(4), 0)));
    }

    byte[] Read(int count)
    {
        var data = new byte[count];
        for (int done = 0; done < count;)
        {
            int part = stream.Read(data, done, count - done);
            if (part == 0) Environment.Exit(0);
            done += part;
        }
        return data;
    }

    public override AsyncUnaryCall<TResponse> AsyncUnaryCall<TRequest, TResponse>(Method<TRequest, TResponse> method,
        string host, CallOptions options, TRequest request) { throw new NotSupportedException(); }
    public override AsyncServerStreamingCall<TResponse> AsyncServerStreamingCall<TRequest, TResponse>(
        Method<TRequest, TResponse> method, string host, CallOptions options, TRequest request) { throw new NotSupportedException(); }
    public override AsyncClientStreamingCall<TRequest, TResponse> AsyncClientStreamingCall<TRequest, TResponse>(
        Method<TRequest, TResponse> method, string host, CallOptions options) { throw new NotSupportedException(); }
    public override AsyncDuplexStreamingCall<TRequest, TResponse> AsyncDuplexStreamingCall<TRequest, TResponse>(
        Method<TRequest, TResponse> method, string host, CallOptions options) { throw new NotSupportedException(); }
}

// Unity's own channel would set the engine's time scale; this one only remembers it.
class Settings : SideChannel
{
    public float TimeScale = -1f;

    public Settings() { ChannelId = new Guid("e951342c-4f7e-11ea-b238-784f4387d1f7"); }

    protected override void OnMessageReceived(IncomingMessage message)
    {
        if (message.ReadInt32() == 2) TimeScale = message.ReadFloat32();
    }
}

class Client
{
    const BindingFlags Any = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static;
    const string Name = "Walk?team=0";
    static Assembly agents, messages;
    static object communicator, client;
    static bool wasReset, quit;
    static int place, steps, episode;
    static float reward;

    static Type Find(string name) { return agents.GetType("Unity.MLAgents." + name, true); }
    static object New(string message) { return Activator.CreateInstance(messages.GetType("Unity.MLAgents.CommunicatorObjects." + message, true)); }
    static object Get(object target, string name) { return target.GetType().GetProperty(name, Any).GetValue(target, null); }
    static void Put(object target, string name, object value) { target.GetType().GetProperty(name, Any).SetValue(target, value, null); }
    static void Set(object target, string name, object value) { target.GetType().GetField(name, Any).SetValue(target, value); }

    static object Call(object target, string method, params object[] arguments)
    {
        var found = target.GetType().GetMethods(Any).First(m => m.Name == method && m.GetParameters().Length == arguments.Length
            && m.GetParameters().Zip(arguments, (p, a) => a == null || p.ParameterType.IsInstanceOfType(a)).All(fits => fits));
        return found.Invoke(target, arguments);
    }

    static void Main(string[] arguments)
    {
        var folder = arguments[0];
        AppDomain.CurrentDomain.AssemblyResolve += (_, wanted) =>
        {
            var path = Path.Combine(folder, new AssemblyName(wanted.Name).Name + ".dll");
            return File.Exists(path) ? Assembly.LoadFrom(path) : null;
        };
        agents = Assembly.LoadFrom(Path.Combine(folder, "Unity.ML-Agents.dll"));
        messages = Assembly.LoadFrom(Path.Combine(folder, "Unity.ML-Agents.CommunicatorObjects.dll"));
        Run(int.Parse(arguments[1]));
    }

    static void OnReset() { wasReset = true; }
    static void OnQuit() { quit = true; }

    static object Exchange(object output)
    {
        var wrapped = communicator.GetType().GetMethod("WrapMessage", Any).Invoke(null, new object[] { output, 200 });
        var answer = Call(client, "Exchange", wrapped, new CallOptions());
        return Get(answer, "UnityInput");
    }

    static void Run(int port)
    {
        communicator = Activator.CreateInstance(Find("RpcCommunicator"), true);
        client = Activator.CreateInstance(messages.GetType("Unity.MLAgents.CommunicatorObjects.UnityToExternalProto+UnityToExternalProtoClient", true),
            Any, null, new object[] { new Relay(port) }, null);
        Set(communicator, "m_Client", client);
        Set(communicator, "m_IsOpen", true);
        foreach (var pair in new[] { new[] { "ResetCommandReceived", "OnReset" }, new[] { "QuitCommandReceived", "OnQuit" } })
        {
            var happening = communicator.GetType().GetEvent(pair[0], Any);
            happening.GetAddMethod(true).Invoke(communicator, new object[] {
                Delegate.CreateDelegate(happening.EventHandlerType, typeof(Client).GetMethod(pair[1], Any)) });
        }
        var hello = New("UnityRLInitializationOutputProto");
        Put(hello, "Name", "Corridor");
        Put(hello, "PackageVersion", "4.0.0");
        Put(hello, "CommunicationVersion", "1.5.0");
        var capabilities = FormatterServices.GetUninitializedObject(Find("UnityRLCapabilities"));
        foreach (var field in capabilities.GetType().GetFields(Any)) field.SetValue(capabilities, true);
        Put(hello, "Capabilities", Extend("ToProto", capabilities));
        var output = New("UnityOutputProto");
        Put(output, "RlInitializationOutput", hello);
        var welcome = Get(Exchange(output), "RlInitializationInput");
        Console.WriteLine("welcomed by " + Get(welcome, "CommunicationVersion") + ", seed " + Get(welcome, "Seed"));
        var settings = new Settings();
        var parameters = (SideChannel)Activator.CreateInstance(Find("SideChannels.EnvironmentParametersChannel"), true);
        var statistics = (SideChannel)Activator.CreateInstance(Find("SideChannels.StatsSideChannel"), true);
        foreach (var channel in new SideChannel[] { settings, parameters, statistics }) SideChannelManager.RegisterSideChannel(channel);
        var told = Obey(Exchange(null));
        var brain = Activator.CreateInstance(Find("Policies.BrainParameters"));
        Put(brain, "ActionSpec", Activator.CreateInstance(Find("Actuators.ActionSpec"), 0, new[] { 3 }));
        while (!quit)
        {
            if (wasReset) { wasReset = false; Begin(); }
            output = New("UnityOutputProto");
            Put(output, "RlInitializationOutput", New("UnityRLInitializationOutputProto"));
            Call(Get(Get(output, "RlInitializationOutput"), "BrainParameters"), "Add", Extend("ToProto", brain, Name, true));
            Put(output, "RlOutput", New("UnityRLOutputProto"));
            Call(statistics, "AddStat", "time_scale", settings.TimeScale, StatAggregationMethod.MostRecent);
            Call(statistics, "AddStat", "gravity", Call(parameters, "GetWithDefault", "gravity", -1f), StatAggregationMethod.MostRecent);
            Put(Get(output, "RlOutput"), "SideChannel", Bytes((byte[])typeof(SideChannelManager).GetMethod("GetSideChannelMessage", Any, null, new Type[0], null).Invoke(null, null)));
            var infos = New("UnityRLOutputProto+Types+ListAgentInfoProto");
            if (place == 4 || steps == 20) { Call(Get(infos, "Value"), "Add", Info(true)); Begin(); }
            Call(Get(infos, "Value"), "Add", Info(false));
            Call(Get(Get(output, "RlOutput"), "AgentInfos"), "Add", Name, infos);
            told = Obey(Exchange(output));
            if (quit || wasReset) continue;
            var actions = (IList)Extend("ToAgentActionList", Call(Get(told, "AgentActions"), "get_Item", Name));
            if (actions.Count != 1) throw new Exception(actions.Count + " actions for one agent");
            var discrete = Get(actions[0], "DiscreteActions");
            int move = (int)Call(discrete, "get_Item", 0) - 1;
            if (move == -1 && place == 0) throw new Exception("a forbidden action");
            place = Math.Min(4, Math.Max(0, place + move));
            steps++;
            reward += (place == 4 ? 1f : 0f) - 0.1f;
        }
        Console.WriteLine("told to quit");
    }

    // The communicator raises its events; what the message holds beside the command is returned.
    static object Obey(object input)
    {
        if (input == null) { quit = true; return null; } // the trainer is done
        Call(communicator, "UpdateEnvironmentWithInput", Get(input, "RlInput"));
        return Get(input, "RlInput");
    }

    static object Extend(string method, params object[] arguments)
    {
        return agents.GetType("Unity.MLAgents.GrpcExtensions").GetMethods(Any).First(m => m.Name == method
            && m.GetParameters().Length == arguments.Length && m.GetParameters()[0].ParameterType == arguments[0].GetType())
            .Invoke(null, arguments);
    }

    static void Begin() { place = steps = 0; reward = 0f; episode++; }

    static object Bytes(byte[] data)
    {
        var kind = messages.GetType("Unity.MLAgents.CommunicatorObjects.UnityRLOutputProto").GetProperty("SideChannel", Any).PropertyType;
        return kind.GetMethods(Any).First(m => m.Name == "CopyFrom" && m.GetParameters()[0].ParameterType == typeof(byte[])
            && m.GetParameters().Length == 1).Invoke(null, new object[] { data });
    }

    static object Info(bool done)
    {
        var sensor = Activator.CreateInstance(Find("Sensors.VectorSensor"), 5, "cells", Enum.ToObject(Find("Sensors.ObservationType"), 0));
        var add = sensor.GetType().GetMethods(Any).First(m => m.Name == "AddObservation" && m.GetParameters()[0].ParameterType == typeof(float));
        for (int cell = 0; cell < 5; cell++) add.Invoke(sensor, new object[] { cell == place ? 1f : 0f });
        var info = Activator.CreateInstance(Find("AgentInfo"));
        Set(info, "discreteActionMasks", new[] { place == 0, false, false });
        Set(info, "reward", reward);
        Set(info, "done", done);
        Set(info, "maxStepReached", done && place != 4);
        Set(info, "episodeId", episode);
        reward = 0f;
        var told = Extend("ToAgentInfoProto", info);
        var writer = Activator.CreateInstance(Find("Sensors.ObservationWriter"), true);
        var observation = agents.GetType("Unity.MLAgents.GrpcExtensions").GetMethod("GetObservationProto", Any).Invoke(null, new[] { sensor, writer });
        Call(Get(told, "Observations"), "Add", observation);
        return told;
    }
}
