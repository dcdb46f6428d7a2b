// What the Android page uses of this type of Android.
package org.json;

public class JSONObject {
    public JSONObject() {}

    public JSONObject(String json) throws JSONException {}

    public native JSONObject put(String name, Object value) throws JSONException;

    public native String getString(String name) throws JSONException;

    public native long getLong(String name) throws JSONException;

    public native boolean getBoolean(String name) throws JSONException;
}
