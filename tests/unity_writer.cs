// Writes demonstrations by Unity's own compiled DemonstrationWriter:
//   unity_writer.exe ASSEMBLIES FILE KIND
// KIND is discrete, continuous or empty. Two episodes: three steps and an end; one step and a cut.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;

class Writer
{
    const BindingFlags Any = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static;
    static Assembly agents;

    static Type Find(string name) { return agents.GetType("Unity.MLAgents." + name, true); }

    static void Set(object target, string field, object value) { target.GetType().GetField(field, Any).SetValue(target, value); }

    static object Call(object target, string method, params object[] arguments)
    {
        var found = target.GetType().GetMethods(Any).First(m => m.Name == method && m.GetParameters().Length == arguments.Length);
        return found.Invoke(target, arguments);
    }

    static object Info(bool discrete, int episode, int step, float reward, bool done, bool cut)
    {
        var info = Activator.CreateInstance(Find("AgentInfo"));
        var buffers = discrete
            ? Activator.CreateInstance(Find("Actuators.ActionBuffers"), new float[0], new[] { step % 3, 1 })
            : Activator.CreateInstance(Find("Actuators.ActionBuffers"), new[] { 0.25f * step, -1f }, new int[0]);
        Set(info, "storedActions", buffers);
        if (discrete) Set(info, "discreteActionMasks", new[] { step == 0, false, false, false, false });
        Set(info, "reward", reward);
        Set(info, "done", done);
        Set(info, "maxStepReached", cut);
        Set(info, "episodeId", episode);
        return info;
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
        bool discrete = arguments[2] == "discrete";
        var brain = Activator.CreateInstance(Find("Policies.BrainParameters"));
        var spec = Activator.CreateInstance(Find("Actuators.ActionSpec"), discrete ? 0 : 2, discrete ? new[] { 3, 2 } : null);
        brain.GetType().GetProperty("ActionSpec", Any).SetValue(brain, spec, null);
        var writer = Activator.CreateInstance(Find("Demonstrations.DemonstrationWriter"), File.Create(arguments[1]));
        Call(writer, "Initialize", "walk", brain, "Walk?team=0");
        var sensor = Activator.CreateInstance(Find("Sensors.VectorSensor"), 3, "place", Enum.ToObject(Find("Sensors.ObservationType"), 0));
        var list = Activator.CreateInstance(typeof(List<>).MakeGenericType(Find("Sensors.ISensor")));
        Call(list, "Add", sensor);
        var add = sensor.GetType().GetMethods(Any).First(m => m.Name == "AddObservation" && m.GetParameters()[0].ParameterType == typeof(float));
        if (arguments[2] != "empty") foreach (var step in new[] {
            new float[] { 0, 0, 0f, 0, 0 }, new float[] { 0, 1, 0.5f, 0, 0 }, new float[] { 0, 2, -0.25f, 0, 0 },
            new float[] { 0, 3, 1f, 1, 0 }, new float[] { 1, 0, 0f, 0, 0 }, new float[] { 1, 1, 2f, 1, 1 } })
        {
            Call(sensor, "Reset");
            foreach (var number in new[] { step[1], step[0], 0.1f * step[1] }) add.Invoke(sensor, new object[] { number });
            Call(writer, "Record", Info(discrete, (int)step[0] + 7, (int)step[1], step[2], step[3] == 1, step[4] == 1), list);
        }
        Call(writer, "Close");
        Console.WriteLine("written");
    }
}
